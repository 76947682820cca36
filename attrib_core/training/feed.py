"""Minibatches for a device: chosen, drawn and read ahead in a thread, and uploaded without a wait.

Where the data set lies on the device, a minibatch is a few numbers an image: which it is, its label, and which row
and column of the padded image each pixel comes from. Flips and shifts are then one look-up. Otherwise a minibatch
is its 8-bit images, augmented on the CPU. Both give the images that the CPU trains on.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.execution import Execution
from attrib_core.training.data import Draws, NormalizedImages, augment
from attrib_core.training.order import DataOrder
from attrib_core.training.settings import TrainingSettings

NUM_AHEAD = 50  # updates whose minibatches are uploaded together
BYTES_AHEAD = 2**26  # of images that are uploaded together

Tensors = tuple[Tensor, ...]


class Source(Protocol):
    """How minibatches reach the network: as what is made on the CPU, and what the device makes of it."""

    num_ahead: int

    def on_cpu(self, indices: Tensor, step: int) -> Tensors:
        """Return what is uploaded for the minibatch of one update."""

    def on_device(self, *uploaded: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised images `[B, C, H, W]` and labels `[B]` of what was uploaded."""


class ResidentSource:
    """Minibatches of images that lie on the device."""

    num_ahead = NUM_AHEAD

    def __init__(self, images: NormalizedImages, resident: Tensor, settings: TrainingSettings) -> None:
        self._images, self._settings = images, settings
        _, self._height, self._width = images.shape
        margin = settings.max_shift
        self._padded = F.pad(resident, (0, 0, margin, margin, margin, margin)) if margin else resident

    def on_cpu(self, indices: Tensor, step: int) -> Tensors:
        """Return `[B, 2 + H + W]`: image, label, and the row and column in the padded image of each pixel."""
        draws = Draws.of(len(indices), self._settings, step)
        rows, columns = torch.arange(self._height)[None], torch.arange(self._width)[None]
        if draws.offsets is not None:
            rows, columns = rows + draws.offsets[0], columns + draws.offsets[1]
        if draws.is_flipped is not None:
            # The image is mirrored first, then shifted: of the mirrored padded image these are the columns.
            last = self._width + 2 * self._settings.max_shift - 1
            columns = torch.where(draws.is_flipped[:, None], last - columns, columns)
        own = indices[:, None], self._images.labels(indices)[:, None]
        return (torch.cat([*own, *(each.expand(len(indices), -1) for each in (rows, columns))], dim=1),)

    def on_device(self, *uploaded: Tensor) -> tuple[Tensor, Tensor]:
        image, label, rows, columns = torch.split(uploaded[0], [1, 1, self._height, self._width], dim=1)
        if self._settings.horizontal_flip or self._settings.max_shift:
            chosen = self._padded[image[:, :, None], rows[:, :, None], columns[:, None, :]]
        else:
            chosen = self._padded.index_select(0, image[:, 0])
        return self._images.normalized(chosen.permute(0, 3, 1, 2)), label[:, 0]


class UploadedSource:
    """Minibatches whose images are uploaded each time."""

    def __init__(self, images: NormalizedImages, settings: TrainingSettings) -> None:
        self._images, self._settings = images, settings
        bytes_each = settings.batch_size * torch.Size(images.shape).numel()
        self.num_ahead = max(1, min(NUM_AHEAD, BYTES_AHEAD // bytes_each))

    def on_cpu(self, indices: Tensor, step: int) -> Tensors:
        images = augment(self._images.read(indices.tolist()), self._settings, step)
        return images, self._images.labels(indices)

    def on_device(self, *uploaded: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = uploaded
        return self._images.normalized(images), labels


@dataclass(frozen=True, kw_only=True)
class Minibatch:
    """The minibatch of one update."""

    indices: Tensor  # [B], on the CPU
    learning_rate: float
    uploaded: Tensors  # of a source, on the device
    uploaded_rate: Tensor  # [], the learning rate on the device


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Consecutive updates of one batch size, on the CPU or on the device."""

    start: int
    indices: list[Tensor]
    learning_rates: list[float]
    tensors: Tensors  # [S, ...] each, of a source
    rates: Tensor  # [S]

    @property
    def stop(self) -> int:
        return self.start + len(self.indices)


class Feed:
    """The minibatches of a training, by the number of the update."""

    def __init__(self, images: NormalizedImages, settings: TrainingSettings, execution: Execution) -> None:
        resident = images.resident
        self.source: Source = (
            UploadedSource(images, settings)
            if resident is None
            else ResidentSource(images, resident, settings)
        )
        self._order, self._execution = DataOrder(len(images), settings), execution
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="minibatches")
        self._next: tuple[int, Future[_Block]] | None = None
        self._block: _Block | None = None

    def minibatch(self, step: int) -> Minibatch:
        """Return the minibatch of update number `step` (from 0). Raises ValueError for unreadable images."""
        block = self._block
        if block is None or not block.start <= step < block.stop:
            block = self._block = self._uploaded(step)
        position = step - block.start
        return Minibatch(
            indices=block.indices[position],
            learning_rate=block.learning_rates[position],
            uploaded=tuple(each[position] for each in block.tensors),
            uploaded_rate=block.rates[position],
        )

    def _uploaded(self, step: int) -> _Block:
        """Return the block of updates from `step` on the device, and let the thread prepare the one after it."""
        if self._next is not None and self._next[0] == step:
            block = self._next[1].result()
        else:
            block = self._thread.submit(self._prepare, step).result()
        self._next = None
        if block.stop < self._order.num_steps:
            self._next = block.stop, self._thread.submit(self._prepare, block.stop)
        return _Block(
            start=block.start,
            indices=block.indices,
            learning_rates=block.learning_rates,
            tensors=tuple(map(self._execution.to_device, block.tensors)),
            rates=self._execution.to_device(block.rates),
        )

    def _prepare(self, start: int) -> _Block:
        indices = list(self._of_one_size(start))
        parts = [self.source.on_cpu(each, start + position) for position, each in enumerate(indices)]
        rates = [self._order.learning_rate(start + position) for position in range(len(indices))]
        return _Block(
            start=start,
            indices=indices,
            learning_rates=rates,
            tensors=tuple(torch.stack(each) for each in zip(*parts, strict=True)),
            rates=torch.tensor(rates),
        )

    def _of_one_size(self, start: int) -> Iterator[Tensor]:
        """Yield the minibatches from `start` on, up to the first of another size."""
        first = self._order.minibatch(start)
        for step in range(start, min(start + self.source.num_ahead, self._order.num_steps)):
            indices = self._order.minibatch(step)
            if len(indices) != len(first):
                return
            yield indices
