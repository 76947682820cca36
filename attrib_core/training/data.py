"""Minibatches of a data set for training: augmented and normalised."""

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.classifiers import Preprocessing
from attrib_core.datasets import Dataset, View
from attrib_core.execution import Execution
from attrib_core.seeding import generator
from attrib_core.training.settings import TrainingSettings


class NormalizedImages:
    """A data set's images, normalised for a network, on the device and in the memory format of `execution`."""

    def __init__(self, dataset: Dataset, preprocessing: Preprocessing, execution: Execution) -> None:
        self._dataset, self._execution = dataset, execution
        self._labels = torch.from_numpy(dataset.labels)
        self._view = View.of_preprocessing(preprocessing)
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self._mean, self._std = (each.view(1, -1, 1, 1).to(self.device) for each in (mean, std))

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def device(self) -> torch.device:
        return self._execution.device

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised images `[B, C, H, W]` and labels `[B]`."""
        return self._normalize(self._read(indices)), self._labels[indices].to(self.device)

    def augmented(self, indices: Tensor, settings: TrainingSettings, step: int) -> tuple[Tensor, Tensor]:
        """Return the same as `batch`, with the random flips and shifts of this step."""
        images = augment(self._read(indices), settings, step)
        return self._normalize(images), self._labels[indices].to(self.device)

    def _read(self, indices: Tensor) -> Tensor:
        return torch.from_numpy(self._dataset.images(indices.tolist(), self._view))

    def _normalize(self, images: Tensor) -> Tensor:
        """Convert 8-bit images `[B, C, H, W]` to floats and scale them by the model's mean and std."""
        return (self._execution.images(images).float() / 255 - self._mean) / self._std


def augment(images: Tensor, settings: TrainingSettings, step: int) -> Tensor:
    """Flip and shift each image `[B, C, H, W]` on its own; the same seed and step give the same result."""
    keyed = generator("augmentation", settings.seed, step)
    if settings.horizontal_flip:
        is_flipped = torch.rand(len(images), generator=keyed) < 0.5
        images = torch.where(is_flipped[:, None, None, None], images.flip(-1), images)
    if settings.max_shift:
        images = _shift(images, settings.max_shift, keyed)
    return images


def _shift(images: Tensor, max_shift: int, keyed: torch.Generator) -> Tensor:
    batch, _, height, width = images.shape
    # A shift is a crop at a random offset of the image padded with black. Indexing with one row and one column
    # index per pixel crops every image at an offset of its own in one operation.
    padded = F.pad(images, (max_shift,) * 4)
    offsets = torch.randint(2 * max_shift + 1, (2, batch, 1), generator=keyed)
    rows = (offsets[0] + torch.arange(height))[:, :, None]  # [B, H, 1]
    columns = (offsets[1] + torch.arange(width))[:, None, :]  # [B, 1, W]
    image = torch.arange(batch)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)
