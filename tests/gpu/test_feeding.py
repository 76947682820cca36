"""JPEGs of a shard that waits are decoded by another thread than the one that drives the GPU."""

import io
import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attrib_core.attribution import AttributionSettings
from attrib_core.classifiers import Description
from attrib_core.classifiers.fashion_networks import CLASS_NAMES
from attrib_core.datasets import Dataset
from attrib_core.datasets.encoded_images import Content, EncodedImages
from sweeps.attribute.job import AttributeJob, AttributeJobSettings
from sweeps.attribute.training_maps import AttributeInputs
from sweeps.images.actor import ActorSettings
from sweeps.images.inputs import ImageInputs, read_inputs
from sweeps.images.labels import LabelChoice
from sweeps.model_options import ModelChoice
from sweeps.plan import Shard
from tests.gpu.pretend_gpu import Counts

COUNT, BATCH = 24, 4


class Jpegs(EncodedImages):
    """JPEGs in memory; notes which thread reads each batch."""

    def __init__(self) -> None:
        self.read_by: dict[tuple[int, ...], str] = {}
        self._files: list[bytes] = []
        rng = np.random.default_rng(0)
        for _ in range(COUNT):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(buffer, format="JPEG")
            self._files.append(buffer.getvalue())

    def contents(self, indices: Sequence[int], pool: Executor) -> Sequence[Content]:
        self.read_by[tuple(indices)] = threading.current_thread().name
        return [self._files[index] for index in indices]


@pytest.fixture
def inputs() -> ImageInputs:
    dataset = Dataset(
        name="fashion_mnist",
        split="test",
        class_names=CLASS_NAMES,
        labels=np.zeros(COUNT, np.int64),
        keys=tuple(f"{index:05d}" for index in range(COUNT)),
        image_digests=np.zeros((COUNT, 32), np.uint8),
        source=Jpegs(),
    )
    model = ModelChoice(name="fashion_deep", weights=None, description=Description())
    return read_inputs(dataset, model, labels=LabelChoice())


def attributions(inputs: ImageInputs, folder: Path, device: str) -> dict[tuple[int, ...], list[object]]:
    """Return the values of three shards, each of which waits while the one before computes."""
    actor = ActorSettings(
        output=str(folder), precision="float32", save_images=frozenset(), batch_size=BATCH, device=device
    )
    job = AttributeJob(
        AttributeJobSettings(actor=actor, attribution=AttributionSettings()), AttributeInputs.of(inputs, None)
    )
    axes = {"target": "predicted", "checkpoint": "trained", "method": ("gradient_x_input",)}
    shards = [
        Shard(f"from{start}", axes, tuple((index,) for index in range(start, start + 8)))
        for start in range(0, COUNT, 8)
    ]
    found = {}
    for shard, following in zip(shards, [*shards[1:], None], strict=True):
        if following is not None:
            job.prefetch(following)
        batches = job.compute(shard).batches
        found[shard.indices()] = [each.columns["attribution"].to_pylist() for each in batches]
    return found


def test_the_device_gets_the_same_images_from_a_thread_that_reads_ahead(
    inputs: ImageInputs, tmp_path: Path, gpu: Counts
) -> None:
    source = inputs.dataset.source
    assert isinstance(source, Jpegs)
    expected = attributions(inputs, tmp_path / "cpu", "cpu")
    # The processor that computes has no time to read ahead.
    assert set(source.read_by.values()) == {threading.current_thread().name}
    source.read_by.clear()
    found = attributions(inputs, tmp_path / "gpu", "gpu")
    assert {name.partition("_")[0] for name in source.read_by.values()} == {"read-ahead"}
    assert len(source.read_by) == COUNT // BATCH
    assert found == expected
