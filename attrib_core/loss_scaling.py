"""Gradients through a pass in float16, scaled for each image so that they do not underflow.

float16 has no number between 0 and 6e-8. The loss of an image of which its network is sure has a smaller gradient,
which would become 0. So what goes back is scaled by a power of two, image by image, and the gradient that comes
out is unscaled in float32. Loss scaling in training (Micikevicius et al. 2017, arXiv:1710.03740) has one factor
for a batch, whose images differ by more than float16's range.
"""

import torch
from torch import Tensor

# The largest gradient of an image's logits is brought to at most this, which leaves 2^8 to the largest float16.
LARGEST_LOGIT_GRADIENT = 2.0**8
LARGEST_EXPONENT = 100.0  # the factor itself is float32
# An image whose gradient overflows gets a smaller factor, at most so often.
FACTOR_AFTER_OVERFLOW = 2.0**-8
MAX_RETRIES = 3


def scaled_gradient(objective: Tensor, logits: Tensor, points: Tensor) -> Tensor | None:
    """Return the gradient `[N, C, H, W]` at the points of a sum over images, through their logits `[N, K]`.

    It is in float32. Returns None if the points take no part. What overflows in the last try too stays infinite or
    NaN.
    """
    (on_logits,) = torch.autograd.grad(objective, logits, retain_graph=True, allow_unused=True)
    if on_logits is None:
        return None
    scale = _scale(on_logits)
    gradient = _unscaled(on_logits, logits, points, scale)
    for _ in range(MAX_RETRIES):
        if gradient is None:
            return None
        overflowed = ~gradient.flatten(1).isfinite().all(dim=1)
        if not overflowed.any():
            break
        scale = torch.where(overflowed, scale * FACTOR_AFTER_OVERFLOW, scale)
        again = _unscaled(on_logits, logits, points, scale)
        assert again is not None
        gradient = torch.where(_by_image(overflowed), again, gradient)
    return gradient


def _scale(on_logits: Tensor) -> Tensor:
    """Return a power of two `[N]` that brings the largest gradient of an image's logits near the wanted one."""
    largest = on_logits.abs().amax(dim=1)
    exponent = (LARGEST_LOGIT_GRADIENT / largest).log2().floor().clamp(max=LARGEST_EXPONENT)
    return torch.where(largest > 0, exponent.exp2(), 1.0)


def _unscaled(on_logits: Tensor, logits: Tensor, points: Tensor, scale: Tensor) -> Tensor | None:
    (found,) = torch.autograd.grad(
        logits, points, on_logits * scale[:, None], retain_graph=True, allow_unused=True
    )
    return None if found is None else found / _by_image(scale)


def _by_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]
