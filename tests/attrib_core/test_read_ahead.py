"""Images that are read ahead are the images themselves, in bounded memory, whatever is asked for and when."""

import io
import threading
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
import pytest
import torch
from PIL import Image

from attrib_core.datasets import UnreadableImagesError, View
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.encoded_images import Content, EncodedImages
from attrib_core.datasets.read_ahead import ReadAhead

SIDE, BATCH = 16, 4
VIEW = View(channels=3, image_size=SIDE, resize_size=SIDE)


class Encoded(EncodedImages):
    """JPEGs in memory; notes which are read, and by which thread."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files
        self.read_by: dict[tuple[int, ...], str] = {}

    def contents(self, indices: Sequence[int], pool: Executor) -> Sequence[Content]:
        self.read_by[tuple(indices)] = threading.current_thread().name
        return [self.files[index] for index in indices]


@pytest.fixture
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    files = []
    for _ in range(20):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(buffer, format="JPEG")
        files.append(buffer.getvalue())
    return Dataset(
        name="jpegs",
        split="all",
        class_names=("one",),
        labels=np.zeros(20, np.int64),
        keys=tuple(map(str, range(20))),
        image_digests=np.zeros((20, 32), np.uint8),
        source=Encoded(files),
    )


def ahead_of(dataset: Dataset, most_batches: int = 2) -> ReadAhead:
    size = BATCH * 3 * SIDE**2
    return ReadAhead(dataset, VIEW, BATCH, pin_memory=False, most_bytes=most_batches * size)


@pytest.mark.parametrize(
    "indices",
    [
        pytest.param([0, 1, 2, 3], id="the next batch"),
        pytest.param([8, 9], id="a later batch, the shorter last one"),
        pytest.param([2, 0], id="images in no batch that was expected"),
        pytest.param([0, 1, 2], id="a batch without one of its images"),
    ],
)
def test_taken_images_are_those_of_the_data_set(dataset: Dataset, indices: list[int]) -> None:
    ahead = ahead_of(dataset)
    ahead.expect(range(10))
    assert torch.equal(ahead.take(indices), torch.from_numpy(dataset.images(indices, VIEW)))


def test_batches_are_read_by_another_thread_before_they_are_taken_and_no_more_than_may_wait(
    dataset: Dataset,
) -> None:
    ahead = ahead_of(dataset, most_batches=2)
    ahead.expect(range(20))
    ahead._reader.submit(int).result()  # all that was asked for is read by now
    read_by = dataset.source.read_by  # type: ignore[attr-defined]
    assert set(read_by) == {(0, 1, 2, 3), (4, 5, 6, 7)}
    assert threading.current_thread().name not in read_by.values()
    ahead.take(range(4))
    ahead._reader.submit(int).result()
    assert set(read_by) == {(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)}


def test_batches_of_a_shard_that_failed_do_not_wait_for_ever(dataset: Dataset) -> None:
    ahead = ahead_of(dataset, most_batches=1)
    ahead.expect(range(8))
    ahead.expect(range(8, 16))
    ahead.take([8, 9, 10, 11])
    ahead._reader.submit(int).result()
    assert (12, 13, 14, 15) in dataset.source.read_by  # type: ignore[attr-defined]


def test_an_image_that_cannot_be_decoded_is_named_to_who_takes_its_batch(dataset: Dataset) -> None:
    dataset.source.files[5] = dataset.source.files[5][:100]  # type: ignore[attr-defined]
    ahead = ahead_of(dataset)
    ahead.expect(range(8))
    ahead.take([0, 1, 2, 3])
    with pytest.raises(UnreadableImagesError) as raised:
        ahead.take([4, 5, 6, 7])
    assert set(raised.value.reasons) == {5}
    assert len(ahead.take([4, 6, 7])) == 3
