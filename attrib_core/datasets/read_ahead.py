"""Batches of images that are read and decoded while a device is busy with the batch before."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.encoded_images import EncodedImages
from attrib_core.datasets.view import View

MOST_BYTES = 2**28  # of decoded images that wait


@dataclass(eq=False)
class _Batch:
    indices: tuple[int, ...]
    pixels: Future[Tensor] | None = None  # from when its reading has been asked for


class ReadAhead:
    """Reads the batches of a data set that are expected, in their order, while others are worked on.

    A single thread reads them, which decodes in as many threads as torch has in this process. `pin_memory` lays
    the images where a GPU can fetch them. No more than `most_bytes` wait, but at least one batch does.
    """

    def __init__(
        self, dataset: Dataset, view: View, batch_size: int, *, pin_memory: bool, most_bytes: int = MOST_BYTES
    ) -> None:
        self.dataset, self.view, self.batch_size = dataset, view, batch_size
        self._pin_memory = pin_memory
        batch_bytes = batch_size * view.channels * view.image_size**2
        self._most_batches = max(1, most_bytes // batch_bytes)
        self._batches: deque[_Batch] = deque()
        self._lock = threading.Lock()  # images are expected in one thread and taken in another
        self._reader = ThreadPoolExecutor(1, "read-ahead")

    @staticmethod
    def helps(dataset: Dataset) -> bool:
        """Return whether images of the data set have to be decoded, by code that several threads may run."""
        return isinstance(dataset.source, EncodedImages)

    def expect(self, indices: Sequence[int]) -> None:
        """Say that these images will be asked for, in batches of `batch_size`. Images that already wait count."""
        starts = range(0, len(indices), self.batch_size)
        batches = [_Batch(tuple(indices[start : start + self.batch_size])) for start in starts]
        with self._lock:
            if batches and not any(each.indices == batches[0].indices for each in self._batches):
                self._batches.extend(batches)
            self._ask()

    def take(self, indices: Sequence[int]) -> Tensor:
        """Return images `[B, C, H, W]` of 8 bits, and forget all batches that were expected before them.

        Images that are not a batch that was expected are read here and now. Raises what `Dataset.images` raises.
        """
        wanted = tuple(indices)
        with self._lock:
            found = next((each for each in self._batches if each.indices == wanted), None)
            while found is not None and self._batches.popleft() is not found:
                pass
            self._ask()
        return self._read(wanted) if found is None or found.pixels is None else found.pixels.result()

    def _ask(self) -> None:
        """Have the next batches read, as many as may wait."""
        for batch in list(self._batches)[: self._most_batches]:
            if batch.pixels is None:
                batch.pixels = self._reader.submit(self._read, batch.indices)

    def _read(self, indices: tuple[int, ...]) -> Tensor:
        pixels = torch.from_numpy(self.dataset.images(indices, self.view))
        return pixels.pin_memory() if self._pin_memory else pixels
