"""The numbers that the optimiser changes to make an image: pixels, Fourier coefficients, or a pyramid.

`initial` draws the parameters `[B, ...]` of a batch, `render` turns them into images `[B, C, size, size]`.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attrib_core.device_constants import constant
from attrib_core.generation.resampling import upsample
from attrib_core.seeding import Randomness


class Parameterization(Protocol):
    """A differentiable map from parameters to images."""

    def initial(self, randomness: Randomness, size: int, channels: int = 3) -> list[Tensor]:
        """Draw the starting parameters, each `[B, ...]`."""

    def render(self, parameters: list[Tensor], size: int) -> Tensor:
        """Return images `[B, C, size, size]`."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """The pixels themselves, unbounded, starting from noise U(0, 1)/divisor + offset."""

    divisor: float = 25.0
    offset: float = 0.5

    def initial(self, randomness: Randomness, size: int, channels: int = 3) -> list[Tensor]:
        return [randomness.uniform(0, 1, channels, size, size) / self.divisor + self.offset]

    def render(self, parameters: list[Tensor], size: int) -> Tensor:
        """Return the pixels unchanged; after a prior their size may not be `size`."""
        return parameters[0]


# Square root of the covariance matrix of ImageNet's colours (rows R, G, B), from lucid (Olah et al. 2017).
# Multiplying independent channels by it gives colours that are correlated as in photographs, so that equal
# steps of the optimiser do not produce unnatural colours.
_COLOUR_CORRELATION = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
# The matrix, scaled as below, gives each colour this standard deviation where the channels before it have 1.
# Channels that are no colours get it too, so that a step changes the contrast of grey and coloured images alike.
_CHANNEL_SCALE = 0.6


def correlate_colours(images: Tensor) -> Tensor:
    """Map decorrelated channels `[B, C, H, W]` to an image's: for three to RGB, as lucid does.

    Other numbers of channels have no known correlation: each is only scaled.
    """
    if images.shape[1] != 3:
        return _CHANNEL_SCALE * images
    matrix = constant(_colour_matrix, images.device, images.dtype)
    return torch.einsum("dc,bchw->bdhw", matrix, images)


def _colour_matrix(dtype: torch.dtype) -> Tensor:
    matrix = torch.tensor(_COLOUR_CORRELATION, dtype=dtype)
    largest: Tensor = matrix.norm(dim=0).max()
    return matrix / largest


@dataclass(frozen=True, kw_only=True)
class Fourier:
    """Scaled Fourier coefficients with decorrelated colours through a sigmoid (Olah et al. 2017, Distill).

    Each frequency is weighted by 1/f, as in natural images, so that a step of the optimiser changes all scales of
    the image alike.
    """

    standard_deviation: float = 0.01
    decay_power: float = 1.0

    def initial(self, randomness: Randomness, size: int, channels: int = 3) -> list[Tensor]:
        return [self.standard_deviation * randomness.normal(channels, size, size // 2 + 1, 2)]

    def render(self, parameters: list[Tensor], size: int) -> Tensor:
        coefficients = parameters[0]
        weights = constant(_frequency_weights, coefficients.device, size, self.decay_power)
        spectrum = torch.view_as_complex(coefficients) * weights
        # Divided by 4 as in lucid; this sets the contrast of the starting image.
        pixels: Tensor = torch.fft.irfft2(spectrum, s=(size, size), norm="ortho") / 4
        return correlate_colours(pixels).sigmoid()


def _frequency_weights(size: int, decay_power: float) -> Tensor:
    vertical = torch.fft.fftfreq(size)[:, None]
    horizontal = torch.fft.rfftfreq(size)[None]
    frequencies: Tensor = (vertical**2 + horizontal**2).sqrt().clamp(min=1 / size)
    return frequencies.pow(-decay_power)


@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """A sum of images from coarse to fine, each twice as large as the one before, through a sigmoid.

    `weights`, coarsest first, sets the number of levels and how far a step of the optimiser moves each level.
    Large weights for coarse levels favour shapes over texture. `noise` is the standard deviation of the
    starting levels.
    """

    weights: tuple[float, ...] = (1.0,) * 6
    noise: float = 0.1

    def initial(self, randomness: Randomness, size: int, channels: int = 3) -> list[Tensor]:
        return [self.noise * randomness.normal(channels, side, side) for side in self.level_sizes(size)]

    def render(self, parameters: list[Tensor], size: int) -> Tensor:
        """Return images `[B, C, size, size]`; levels that are larger than `size` are left out."""
        pixels = self.weights[0] * parameters[0]
        for weight, level in zip(self.weights[1:], parameters[1:], strict=True):
            if level.shape[-1] > size:
                break
            pixels = upsample(pixels, level.shape[-1]) + weight * level
        return self.squash(self.coloured(upsample(pixels, size)))

    def coloured(self, pixels: Tensor) -> Tensor:
        """Return channels that are correlated as in photographs from decorrelated ones, both `[B, C, H, W]`."""
        return correlate_colours(pixels)

    def squash(self, pixels: Tensor) -> Tensor:
        """Return pixels in (0, 1), a mid grey where they are 0."""
        return pixels.sigmoid()

    def level_sizes(self, size: int) -> list[int]:
        """Return the side lengths of the levels, coarsest first: 7, 14, ... 224 for six levels at 224."""
        return [-(-size // 2**halvings) for halvings in reversed(range(len(self.weights)))]


@dataclass(frozen=True, kw_only=True)
class MutedPyramid(Pyramid):
    """A pyramid whose colours move less than its brightness: they are `saturation` times what they would be.

    Total variation takes more away from the brightness, whose detail is finer, and leaves too much colour. Images
    of other numbers of channels have no colours and stay as they are.
    """

    saturation: float

    def coloured(self, pixels: Tensor) -> Tensor:
        """Return channels that are correlated as in photographs, with less colour."""
        if pixels.shape[1] == 3:  # lucid's first decorrelated channel is the brightness
            pixels = torch.cat([pixels[:, :1], self.saturation * pixels[:, 1:]], 1)
        return correlate_colours(pixels)


@dataclass(frozen=True, kw_only=True)
class DarkPyramid(Pyramid):
    """A pyramid whose pixels of 0 are nearly black, as the surroundings of digits and garments are."""

    darkness: float = 2.0  # a pixel of 0 has the brightness sigmoid(-darkness): 0.12

    def squash(self, pixels: Tensor) -> Tensor:
        """Return pixels in (0, 1), nearly black where they are 0."""
        return (pixels - self.darkness).sigmoid()
