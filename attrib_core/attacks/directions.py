"""Where an attack goes: from the gradient of the loss at an image to a direction in pixel space.

A direction is added to the image ε times. `g` is the gradient of the cross-entropy, of the label for an untargeted
attack; for a targeted one it is the negative gradient of the target's.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from attrib_core.seeding import Randomness

Direction = Callable[[Tensor], Tensor]


def sign(gradient: Tensor) -> Tensor:
    """sign(g), `[B, C, H, W]` in {-1, 0, 1}. Goodfellow et al. 2014, arXiv:1412.6572."""
    return gradient.sign()


def max_normed(gradient: Tensor) -> Tensor:
    """g / max|g| of each image, in [-1, 1]; zero where the gradient is."""
    return _divided(gradient, gradient.abs().amax((1, 2, 3), keepdim=True))


def max_normed_signed(gradient: Tensor) -> Tensor:
    """g / max(g) of each image, the original work's form: it turns round where every entry is negative.

    Zero where max(g) is, for which the original divides by zero.
    """
    return _divided(gradient, gradient.amax((1, 2, 3), keepdim=True))


def random_signs(images: Tensor, keys: tuple[int, ...], seed: int) -> Tensor:
    """A random ±1 for each pixel, drawn from a generator of the image's own: (seed, key)."""
    randomness = Randomness([(seed, "random_sign", key) for key in keys], images.device)
    return torch.where(randomness.uniform(0, 1, *images.shape[1:]) < 0.5, -1.0, 1.0)


def _divided(gradient: Tensor, divisor: Tensor) -> Tensor:
    return torch.where(divisor == 0, 0.0, gradient / divisor)
