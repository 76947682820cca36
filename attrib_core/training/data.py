"""Images of a data set for training: normalised, and augmented."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.classifiers import Preprocessing
from attrib_core.datasets import Dataset, View
from attrib_core.execution import Execution
from attrib_core.seeding import generator
from attrib_core.training.settings import TrainingSettings

# Data sets of at most so many bytes as 8-bit images go to a device whole, once.
RESIDENT_BYTES = 2**30


class NormalizedImages:
    """A data set's images, normalised for a network, on the device and in the memory format of `execution`."""

    def __init__(self, dataset: Dataset, preprocessing: Preprocessing, execution: Execution) -> None:
        self._dataset, self.execution = dataset, execution
        self._labels = torch.from_numpy(dataset.labels)
        self._view = View.of_preprocessing(preprocessing)
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self._mean, self._std = (each.view(1, -1, 1, 1).to(self.device) for each in (mean, std))

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def device(self) -> torch.device:
        return self.execution.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """`[C, H, W]` of an image."""
        return self._view.channels, self._view.image_size, self._view.image_size

    @cached_property
    def resident(self) -> Tensor | None:
        """All images `[N, H, W, C]` of 8 bits on the device; None on the CPU, and where they do not fit."""
        channels, height, width = self.shape
        if self.device.type == "cpu" or len(self) * channels * height * width > RESIDENT_BYTES:
            return None
        try:
            images = self.read(range(len(self)))
        except ValueError:  # an image that cannot be read stops a training when its turn comes
            return None
        return self.execution.to_device(images.permute(0, 2, 3, 1).contiguous())

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised images `[B, C, H, W]` and labels `[B]`."""
        labels = self.execution.to_device(self._labels[indices])
        if self.resident is None:
            return self.normalized(self.read(indices.tolist())), labels
        chosen = self.resident.index_select(0, self.execution.to_device(indices))
        return self.normalized(chosen.permute(0, 3, 1, 2)), labels

    def augmented(self, indices: Tensor, settings: TrainingSettings, step: int) -> tuple[Tensor, Tensor]:
        """Return the same as `batch`, with the random flips and shifts of this step."""
        images = augment(self.read(indices.tolist()), settings, step)
        return self.normalized(images), self.execution.to_device(self._labels[indices])

    def labels(self, indices: Tensor) -> Tensor:
        """Return labels `[B]`, on the CPU."""
        return self._labels[indices]

    def read(self, indices: Sequence[int]) -> Tensor:
        """Return 8-bit images `[B, C, H, W]`, on the CPU. Raises ValueError for one that cannot be read."""
        return torch.from_numpy(self._dataset.images(indices, self._view))

    def normalized(self, images: Tensor) -> Tensor:
        """Convert 8-bit images `[B, C, H, W]` to floats and scale them by the model's mean and std."""
        return (self.execution.images(images).float() / 255 - self._mean) / self._std


@dataclass(frozen=True)
class Draws:
    """The random numbers of a minibatch's augmentation; None for what the settings do not ask for."""

    is_flipped: Tensor | None  # [B]
    offsets: Tensor | None  # [2, B, 1], of rows and columns, from 0 to twice the largest shift

    @classmethod
    def of(cls, count: int, settings: TrainingSettings, step: int) -> "Draws":
        """Draw for `count` images; the same seed and step give the same numbers."""
        keyed = generator("augmentation", settings.seed, step)
        is_flipped = torch.rand(count, generator=keyed) < 0.5 if settings.horizontal_flip else None
        offsets = None
        if settings.max_shift:
            offsets = torch.randint(2 * settings.max_shift + 1, (2, count, 1), generator=keyed)
        return cls(is_flipped, offsets)


def augment(images: Tensor, settings: TrainingSettings, step: int) -> Tensor:
    """Flip and shift each image `[B, C, H, W]` on its own; the same seed and step give the same result."""
    draws = Draws.of(len(images), settings, step)
    if draws.is_flipped is not None:
        images = torch.where(draws.is_flipped[:, None, None, None], images.flip(-1), images)
    if draws.offsets is not None:
        images = _shift(images, settings.max_shift, draws.offsets)
    return images


def _shift(images: Tensor, max_shift: int, offsets: Tensor) -> Tensor:
    batch, _, height, width = images.shape
    # A shift is a crop at a random offset of the image padded with black. Indexing with one row and one column
    # index per pixel crops every image at an offset of its own in one operation.
    padded = F.pad(images, (max_shift,) * 4)
    rows = (offsets[0] + torch.arange(height))[:, :, None]  # [B, H, 1]
    columns = (offsets[1] + torch.arange(width))[:, None, :]  # [B, 1, W]
    image = torch.arange(batch)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)
