"""Random views of an image before the network: what a step sees, while the image itself stays as it is.

Unlike a prior, a transform is differentiated through, and it is drawn for each image on its own, never once
for a batch.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.seeding import Randomness


class Transform(Protocol):
    """A random, differentiable view of images `[B, C, H, W]`."""

    def __call__(self, images: Tensor, randomness: Randomness) -> Tensor:
        """Views `[B, C, H', W']`."""


@dataclass(frozen=True, kw_only=True)
class RandomView:
    """An independent random zoom, rotation, translation and flip of each image.

    `crop` is the range of the view's side length as a share of the image's (1 sees it whole, 0.5 a quarter of
    its area); `rotation` is in degrees, to either side; `translation` is the largest shift of the view's centre
    as a share of the image's side, or None for any shift that keeps the crop inside the image. `size` is the
    side length of the result as a share of the image's. Outside the image lies a mid grey.
    """

    crop: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    translation: float | None = 0.0
    flip: bool = False
    size: float = 1.0

    def __call__(self, images: Tensor, randomness: Randomness) -> Tensor:
        size = round(images.shape[-1] * self.size)
        shape = [images.shape[0], images.shape[1], size, size]
        grid = F.affine_grid(self._matrices(randomness), shape, align_corners=False).to(images.dtype)
        # Centred on grey: grid_sample's padding is zero.
        return F.grid_sample(images - 0.5, grid, align_corners=False) + 0.5

    def _matrices(self, randomness: Randomness) -> Tensor:
        """Affine matrices `[B, 2, 3]` in grid_sample's coordinates, in which the image spans [-1, 1]."""
        crop = randomness.uniform(*self.crop)
        angle = randomness.uniform(-self.rotation, self.rotation) * math.pi / 180
        reach = (1 - crop).clamp(min=0)[:, None] if self.translation is None else 2 * self.translation
        shift = reach * randomness.uniform(-1, 1, 2)
        mirror = (randomness.uniform(0, 1) < 0.5).float() * -2 + 1 if self.flip else torch.ones_like(crop)
        cosine, sine = crop * angle.cos(), crop * angle.sin()
        first = torch.stack([cosine * mirror, -sine, shift[:, 0]], dim=1)
        second = torch.stack([sine * mirror, cosine, shift[:, 1]], dim=1)
        return torch.stack([first, second], dim=1)


@dataclass(frozen=True, kw_only=True)
class ColorShift:
    """A random contrast factor and a random offset of each colour channel, per image."""

    contrast: float = 0.0
    offset: float = 0.0

    def __call__(self, images: Tensor, randomness: Randomness) -> Tensor:
        factor = randomness.uniform(1 - self.contrast, 1 + self.contrast, 1, 1, 1)
        offset = randomness.uniform(-self.offset, self.offset, images.shape[1], 1, 1)
        return (images - 0.5) * factor + 0.5 + offset
