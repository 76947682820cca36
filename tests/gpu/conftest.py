"""The pretend GPU for a test, and jobs' inputs of random images that need no files of a data set."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from attrib_core.classifiers import Description
from attrib_core.classifiers.fashion_networks import CLASS_NAMES
from attrib_core.datasets import Dataset
from attrib_core.datasets.arrays import ArrayImages, array_digests
from sweeps.images.inputs import ImageInputs, read_inputs
from sweeps.images.labels import LabelChoice
from sweeps.model_options import ModelChoice
from tests.gpu.pretend_gpu import Counts, pretend_gpu, register

register()  # before any test of this process


@pytest.fixture
def gpu() -> Iterator[Counts]:
    """The pretend GPU, while the test runs: jobs whose `device` is "gpu" run on it."""
    with pretend_gpu() as counts:
        yield counts


@pytest.fixture(scope="session")
def noise_dataset() -> Callable[..., Dataset]:
    """Images of noise, as many as wanted, under the name and classes of Fashion-MNIST."""

    def make(count: int, split: str = "test") -> Dataset:
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        return Dataset(
            name="fashion_mnist",
            split=split,
            class_names=CLASS_NAMES,
            labels=rng.integers(0, 10, count),
            keys=tuple(f"{position:05d}" for position in range(count)),
            image_digests=array_digests(pixels),
            source=ArrayImages(pixels),
        )

    return make


@pytest.fixture(scope="session")
def noise_inputs(noise_dataset: Callable[..., Dataset]) -> ImageInputs:
    """What a job over images takes: 64 images of noise, and `fashion_deep`, whose classes they have."""
    model = ModelChoice(name="fashion_deep", weights=None, description=Description())
    return read_inputs(noise_dataset(64), model, labels=LabelChoice())
