"""Images without information: where integrated gradients begin, and what insertion starts from."""

import torch
from torch import Tensor

from attrib_core.attribution.settings import BaselineName
from attrib_core.device_constants import constant
from attrib_core.seeding import Randomness

# The standard deviation of the blur is the shorter side over this: 2 pixels at 28, 16 at 224, where hardly any
# classifier still sees its class.
SIDES_PER_SIGMA = 14


def baselines(name: BaselineName, images: Tensor, keys: tuple[int, ...], seed: int) -> Tensor:
    """Return a baseline `[B, C, H, W]` for each image: black, the image blurred, or noise from U(0, 1) by its
    key.
    """
    if name == "black":
        return torch.zeros_like(images)
    if name == "blurred":
        return blurred(images)
    randomness = Randomness([(seed, "uniform_baseline", key) for key in keys], images.device)
    return randomness.uniform(0, 1, *images.shape[1:])


def blurred(images: Tensor) -> Tensor:
    """Return images `[B, C, H, W]` under a Gaussian blur whose weights add up to 1, at the border too."""
    height, width = images.shape[-2:]
    sigma = min(height, width) / SIDES_PER_SIGMA
    vertical, horizontal = (
        constant(_gaussian, images.device, side, sigma, images.dtype) for side in (height, width)
    )
    # Rounding must not leave the range of a pixel.
    return (vertical @ images @ horizontal.T).clamp_(0, 1)


def _gaussian(side: int, sigma: float, dtype: torch.dtype) -> Tensor:
    """Return `[side, side]`: row i holds the weights of all positions for position i."""
    positions = torch.arange(side, dtype=torch.float64)
    weights = (-((positions[:, None] - positions) ** 2) / (2 * sigma**2)).exp()
    return (weights / weights.sum(1, keepdim=True)).to(dtype)
