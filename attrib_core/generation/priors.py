"""Changes of an image after each step, which favour natural images: the priors of the original work.

A gradient alone finds noise that the network likes. A prior moves the image back towards natural ones after
each update: blurring removes high frequencies, resizing removes what exists only at one scale. It is not
differentiated: the next step starts from the changed pixels.

A prior maps pixels `[B, C, H, W]` to pixels and may change H and W; the ascent ends with a resize to the final
size. `until` is the share of a stage's steps in which the prior is active; afterwards fine detail can form.
Recipes list priors in the order blur, resize, jitter.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.device_constants import constant
from attrib_core.generation.resampling import resize
from attrib_core.seeding import Randomness


class Moment(NamedTuple):
    """A step's position in its stage, and the final size of the image."""

    step: int
    num_steps: int
    image_size: int

    @property
    def progress(self) -> float:
        """Position from 0 at the first step of the stage to 1 at its last."""
        return self.step / max(self.num_steps - 1, 1)

    def is_before(self, share: float) -> bool:
        """True if the step is in the first `share` of the stage."""
        return self.step < share * self.num_steps


class Prior(Protocol):
    """A change of the pixels after an update."""

    def __call__(self, images: Tensor, randomness: Randomness, moment: Moment) -> Tensor:
        """Return pixels `[B, C, H', W']` from pixels `[B, C, H, W]`."""


KernelName = Literal["gaussian", "box", "identity", "laplacian"]


@dataclass(frozen=True, kw_only=True)
class Smooth:
    """Convolution of each channel with a small kernel; the image is reflected at its border.

    `sigma`, in pixels, is the pair of values at the stage's first and last step; only `gaussian` uses it.
    `laplacian` is the kernel that the original work calls sharpening; its 3×3 weights sum to 0, so it keeps only
    edges.
    """

    kernel: KernelName = "gaussian"
    size: int = 3
    sigma: tuple[float, float] = (0.8, 0.8)
    until: float = 1.0

    def __call__(self, images: Tensor, randomness: Randomness, moment: Moment) -> Tensor:
        if not moment.is_before(self.until):
            return images
        start, end = self.sigma
        sigma = start + (end - start) * moment.progress
        weights = constant(smoothing_kernel, images.device, self.kernel, self.size, sigma)
        return smooth(images, weights.to(images.dtype))


def smoothing_kernel(kernel: KernelName, size: int, sigma: float) -> Tensor:
    """Return the weights `[size, size]` of a smoothing kernel; `laplacian` exists only at size 3."""
    if size % 2 == 0 or (kernel == "laplacian" and size != 3):
        raise ValueError(
            f"smoothing kernel {kernel!r} of size {size}: the size must be odd, and 3 for laplacian"
        )
    if kernel == "box":
        return torch.full((size, size), 1 / size**2)
    if kernel == "laplacian":
        return torch.tensor([[0, -0.5, 0], [-0.5, 2, -0.5], [0, -0.5, 0]])
    offsets = torch.arange(size) - size // 2
    if kernel == "identity":
        return (offsets[:, None].abs() + offsets.abs() == 0).float()
    gaussian = torch.exp(-(offsets**2) / (2 * sigma**2))
    return torch.outer(gaussian, gaussian) / gaussian.sum() ** 2


def smooth(images: Tensor, weights: Tensor) -> Tensor:
    """Correlate every channel of `[B, C, H, W]` with `weights` `[k, k]`; keeps the size."""
    channels, margin = images.shape[1], weights.shape[0] // 2
    padded = F.pad(images, (margin, margin, margin, margin), mode="reflect")
    return F.conv2d(padded, weights.expand(channels, 1, *weights.shape), groups=channels)


@dataclass(frozen=True, kw_only=True)
class MultiScaleResize:
    """A resize after every step, through five scales in turn; the next step starts from the resized image.

    At 256 pixels the sizes are 256 when the step is a multiple of 5, else 100 + 28·(step mod 5 − 1); at other
    sizes they are in proportion. A pattern survives only if it works at all five scales. The resize is bilinear
    and antialiased: the original's nearest-neighbour resizing moves the image a little each time.
    """

    until: float = 0.75

    def __call__(self, images: Tensor, randomness: Randomness, moment: Moment) -> Tensor:
        active = moment.is_before(self.until)
        return resize(
            images, multi_scale_size(moment.step, moment.image_size) if active else moment.image_size
        )


def multi_scale_size(step: int, image_size: int) -> int:
    """Return the side length in pixels after the given step of the multi-scale schedule."""
    phase = step % 5
    return round(image_size * (1.0 if phase == 0 else (100 + 28 * (phase - 1)) / 256))


def enlarge_and_crop(images: Tensor, zoom: float) -> Tensor:
    """Enlarge `[B, C, H, W]` by `zoom` and crop the centre to the original size."""
    size = images.shape[-1]
    larger = round(size * zoom)
    margin = (larger - size) // 2
    return resize(images, larger)[:, :, margin : margin + size, margin : margin + size]


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """A random brightness, contrast and saturation factor in [1 − amount, 1 + amount] for each image.

    torchvision's transform of this name also clamps to [0, 1], which by itself removes extreme pixels. With
    `clamp=False` the effect of the jitter can be seen alone.
    """

    brightness: float = 0.0001
    contrast: float = 0.0
    saturation: float = 0.0
    clamp: bool = True
    until: float = 1.0

    def __call__(self, images: Tensor, randomness: Randomness, moment: Moment) -> Tensor:
        if not moment.is_before(self.until):
            return images
        # Each change scales the distance to an anchor: to black (brightness), to the mean grey of the image
        # (contrast), to the grey of the same pixel (saturation).
        grey = images.mean(1, keepdim=True)
        anchors = (torch.zeros_like(grey), grey.mean((2, 3), keepdim=True), grey)
        for amount, anchor in zip((self.brightness, self.contrast, self.saturation), anchors, strict=True):
            if amount:
                factor = randomness.uniform(1 - amount, 1 + amount, 1, 1, 1)
                images = anchor + factor * (images - anchor)
        return images.clamp(0, 1) if self.clamp else images
