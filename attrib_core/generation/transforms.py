"""Random views of an image: the network sees the view, and the image itself does not change.

The gradient flows through a transform to the image, unlike through a prior. Each image of a batch gets a view
of its own.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from attrib_core.generation.resampling import resize, sample
from attrib_core.prepared import PreparedModel
from attrib_core.seeding import Randomness


class Transform(Protocol):
    """A random, differentiable view of images `[B, C, H, W]`."""

    def __call__(self, images: Tensor, randomness: Randomness) -> Tensor:
        """Return views `[B, C, H', W']`."""


@dataclass(frozen=True, kw_only=True)
class RandomView:
    """A random crop, rotation, stretch, shift and flip, drawn for each image, in one interpolation.

    `crop` is the range of the view's side length as a share of the image's, drawn log-uniformly: 0.5 sees a
    quarter of the image's area, 2 sees it at half its size. `rotation` is in degrees, to either side; `aspect`
    the largest logarithm of the stretch of width against height. `translation` is the largest shift of the
    view's centre as a share of the image's side, or None for any shift that keeps a crop inside the image (or
    the image inside the view). `size` is the side length of the result as a share of the image's. Outside the
    image lies a mid grey.
    """

    outside: ClassVar[float] = 0.5
    crop: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    aspect: float = 0.0
    translation: float | None = 0.0
    flip: bool = False
    size: float = 1.0

    def __call__(self, images: Tensor, randomness: Randomness) -> Tensor:
        size = round(images.shape[-1] * self.size)
        matrices = randomness.on_host(self._matrices)
        # Outside the image lie zeros, so grey is shifted to zero: outside the image lies grey.
        return sample(images - self.outside, matrices, size) + self.outside

    def _matrices(self, randomness: Randomness) -> Tensor:
        """Draw affine matrices `[B, 2, 3]` from positions in the view to those in the image; both span [-1, 1]."""
        low, high = self.crop
        crop = randomness.uniform(math.log(low), math.log(high)).exp()
        stretch = randomness.uniform(-self.aspect, self.aspect).exp()
        angle = randomness.uniform(-self.rotation, self.rotation) * (math.pi / 180)
        reach = (1 - crop).abs()[:, None] if self.translation is None else 2 * self.translation
        shift = reach * randomness.uniform(-1, 1, 2)
        mirror = (randomness.uniform(0, 1) < 0.5).to(crop) * -2 + 1 if self.flip else torch.ones_like(crop)
        width, height = crop * stretch, crop / stretch
        first = torch.stack([mirror * width * angle.cos(), -height * angle.sin(), shift[:, 0]], dim=1)
        second = torch.stack([mirror * width * angle.sin(), height * angle.cos(), shift[:, 1]], dim=1)
        return torch.stack([first, second], dim=1)


@dataclass(frozen=True, kw_only=True)
class RandomViewOnBlack(RandomView):
    """A random view of an image that lies on black."""

    outside: ClassVar[float] = 0.0


@dataclass(frozen=True, kw_only=True)
class ColorShift:
    """A random contrast (the largest logarithm of its factor), brightness and colour offset, per image."""

    contrast: float = 0.0
    brightness: float = 0.0
    color: float = 0.0

    def __call__(self, images: Tensor, randomness: Randomness) -> Tensor:
        factor = randomness.on_host(self._factors)
        brightness = randomness.uniform(-self.brightness, self.brightness, 1, 1, 1)
        color = randomness.uniform(-self.color, self.color, images.shape[1], 1, 1)
        return (images - 0.5) * factor + 0.5 + brightness + color

    def _factors(self, randomness: Randomness) -> Tensor:
        return randomness.uniform(-self.contrast, self.contrast, 1, 1, 1).exp()


def fitted(model: PreparedModel, views: Tensor) -> Tensor:
    """Return square views `[B, C, H, H]` as they are if the model's network takes their size, else resized."""
    return resize(views, model.view_size(views.shape[-1]))
