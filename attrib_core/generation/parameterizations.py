"""How an image is written down for the optimiser: pixels, or Fourier coefficients.

`initial` draws the parameters `[B, ...]` of a batch, `render` turns them into images `[B, 3, size, size]`.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attrib_core.seeding import Randomness


class Parameterization(Protocol):
    """A differentiable map from parameters to images."""

    def initial(self, randomness: Randomness, size: int) -> list[Tensor]:
        """Random starting parameters, each `[B, ...]`."""

    def render(self, parameters: list[Tensor], size: int) -> Tensor:
        """Images `[B, 3, size, size]`."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """The image itself, unbounded, from noise U(0, 1)/divisor + offset."""

    divisor: float = 25.0
    offset: float = 0.5

    def initial(self, randomness: Randomness, size: int) -> list[Tensor]:
        return [randomness.uniform(0, 1, 3, size, size) / self.divisor + self.offset]

    def render(self, parameters: list[Tensor], size: int) -> Tensor:
        """The parameters as they stand: a prior may have left them at another size than `size`."""
        return parameters[0]


# Square root of the covariance of ImageNet's colours, normalised: from lucid (Olah et al. 2017).
_COLOUR_CORRELATION = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


def correlate_colours(images: Tensor) -> Tensor:
    """Maps decorrelated colour channels `[B, 3, H, W]` to RGB ones, as lucid does."""
    matrix = torch.tensor(_COLOUR_CORRELATION, device=images.device, dtype=images.dtype)
    matrix = matrix / matrix.norm(dim=0).max()
    return torch.einsum("dc,bchw->bdhw", matrix, images)


@dataclass(frozen=True, kw_only=True)
class Fourier:
    """Scaled Fourier coefficients with decorrelated colours through a sigmoid (Olah et al. 2017, Distill).

    Each frequency is weighted by 1/f, so that a step of the optimiser moves all scales of the image alike.
    """

    standard_deviation: float = 0.01
    decay_power: float = 1.0

    def initial(self, randomness: Randomness, size: int) -> list[Tensor]:
        return [self.standard_deviation * randomness.normal(3, size, size // 2 + 1, 2)]

    def render(self, parameters: list[Tensor], size: int) -> Tensor:
        coefficients = parameters[0]
        spectrum = torch.view_as_complex(coefficients) * _frequency_weights(size, self.decay_power).to(
            coefficients.device
        )
        # Division by 4 as in lucid: it sets the contrast at which an image starts.
        pixels = torch.fft.irfft2(spectrum, s=(size, size), norm="ortho") / 4
        return correlate_colours(pixels).sigmoid()


def _frequency_weights(size: int, decay_power: float) -> Tensor:
    vertical = torch.fft.fftfreq(size)[:, None]
    horizontal = torch.fft.rfftfreq(size)[None]
    frequencies = (vertical**2 + horizontal**2).sqrt().clamp(min=1 / size)
    return frequencies**-decay_power
