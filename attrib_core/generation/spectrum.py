"""How an image's fine structure compares with that of photographs: its ripple and its sharpness.

Images that gradients make differ from photographs in two ways that a glance sees and a classifier does not. A
ripple like fingerprints lies over them, over sky and background too, where a photograph is calm. And they are
soft: the finest detail is missing. Both are measured on the luminance, in 0 to 255, on the CPU, in float64.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
FINE_SIGMA, COARSE_SIGMA = 0.75, 2.5  # pixels; their difference keeps wavelengths from 4 to 16 pixels
BLOCK = 16  # pixels, the side of the blocks in which power is averaged
CALM = 0.25  # the share of the blocks that counts as calm
SMALLEST_POWER = 0.05  # grey levels squared; rounding to 8 bits alone has about as much
SMALLEST_FINE_POWER = 1e-6  # of an image of one colour

FINEST_BAND = (1 / 4, 1 / 2)  # cycles a pixel: wavelengths of 4 to 2 pixels
# What the 20 ImageNet photographs that foolbox ships have, the shorter side scaled to 256 pixels (bicubic), the
# centre of 224 cropped: mean log10 of power in the finest band, and mean ripple.
PHOTOGRAPHS_POWER = 2.148
PHOTOGRAPHS_RIPPLE = 0.22


def ripple(images: Tensor) -> Tensor:
    """Return how evenly fine structure lies over images `[B, C, H, W]` in [0, 1]: a number in [0, 1] each `[B]`.

    It is the power at wavelengths of about 4 to 16 pixels that a quarter of the image's blocks stay below, as a
    share of the mean over all blocks. Photographs have 0.22 on average, from 0 to 0.54: most of their detail lies
    in some places. A pattern that covers everything has nearly 1. NaN for images smaller than two blocks.
    """
    side = min(images.shape[-2:])
    if side < 2 * BLOCK:
        return images.new_full((len(images),), torch.nan)
    grey = luminance(images)[:, None]
    band = _blurred(grey, FINE_SIGMA) - _blurred(grey, COARSE_SIGMA)
    power = F.avg_pool2d(band.square(), BLOCK).flatten(1)
    return (power.quantile(CALM, dim=1) / (power.mean(1) + SMALLEST_POWER)).float()


def sharpness(images: Tensor) -> Tensor:
    """Return the power of the finest detail against that of photographs of images `[B, C, H, W]` in [0, 1]: `[B]`.

    It is the mean log10 of the power at wavelengths of 4 to 2 pixels, by radial frequency, minus the same of
    photographs at 224 pixels: 0 is as sharp as they are, -1 has a tenth of their power. The standard deviation
    among photographs is 0.36.
    """
    power = radial_power(luminance(images))
    frequencies = torch.arange(power.shape[1]) / min(images.shape[-2:])
    low, high = FINEST_BAND
    fine = power[:, (frequencies >= low) & (frequencies <= high)].clamp(min=SMALLEST_FINE_POWER)
    return (fine.log10().mean(1) - PHOTOGRAPHS_POWER).float()


def luminance(images: Tensor) -> Tensor:
    """Return the luminance `[B, H, W]`, 0 to 255, of images `[B, C, H, W]` in [0, 1]: a mean where C is not 3."""
    images = 255 * images.double()
    if images.shape[1] != 3:
        return images.mean(1)
    return torch.einsum("c,bchw->bhw", torch.tensor(LUMINANCE, dtype=images.dtype), images)


def radial_power(grey: Tensor) -> Tensor:
    """Return the power `[B, F]` of grey images `[B, H, W]` by radial frequency: 0, 1, ... cycles a shorter side.

    The mean over directions of the squared Fourier transform of the image less its mean, under a Hann window,
    divided by the window's own power, so that white noise has its variance at every frequency.
    """
    height, width = grey.shape[-2:]
    window = torch.outer(*(torch.hann_window(side, False, dtype=grey.dtype) for side in (height, width)))
    mean = (grey * window).sum((1, 2), keepdim=True) / window.sum()
    power = torch.fft.fft2((grey - mean) * window).abs().square() / window.square().sum()
    radii = _radii(height, width)
    most = min(height, width) // 2
    inside = radii <= most
    counts = torch.bincount(radii[inside], minlength=most + 1)
    return grey.new_zeros(len(grey), most + 1).index_add_(1, radii[inside], power[:, inside]) / counts


@lru_cache(maxsize=16)
def _radii(height: int, width: int) -> Tensor:
    """Return the radial frequency of each Fourier coefficient, in whole cycles a shorter side."""
    shorter = min(height, width)
    vertical, horizontal = (torch.fft.fftfreq(side) * shorter for side in (height, width))
    return torch.hypot(vertical[:, None], horizontal[None]).round().long()


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Return images `[B, 1, H, W]` under a Gaussian, reflected at their borders."""
    weights = _gaussian(sigma).to(images.dtype)
    margin = len(weights) // 2
    padded = F.pad(images, (margin,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, weights[None, None, None]), weights[None, None, :, None])


def _gaussian(sigma: float) -> Tensor:
    reach = round(3 * sigma)
    weights = torch.exp(-((torch.arange(2 * reach + 1) - reach) ** 2) / (2 * sigma**2))
    return weights / weights.sum()
