"""Whether a network's answer for an image depends on the images beside it in the batch."""

from collections.abc import Callable

import torch
from torch import Tensor

NUM_IMAGES = 2  # in a batch


def check_neighbours(where: str, answer: Callable[[Tensor], Tensor], channels: int, side: int) -> Tensor:
    """Return logits `[3, K]` of three images, if an image's are the same beside another one, bit for bit.

    `answer` maps images `[2, C, H, W]` in [0, 1] to logits `[2, K]`. Both batches have the same shape, so that
    sums are added up in the same order. Raises ValueError if they are not.
    """
    first, second, third = torch.rand(3, channels, side, side, generator=torch.Generator().manual_seed(0))
    batch = torch.stack([first, second])
    before, beside = answer(batch), answer(torch.stack([first, third]))
    if _same(before[0], beside[0]):
        return torch.cat([before, beside[1:]])
    if not _same(answer(batch), before):
        raise ValueError(
            f"{where}: two passes of the same images give different logits; accepted are networks without "
            "randomness and without a memory of earlier images in eval mode"
        )
    raise ValueError(
        f"{where}: the logits of an image depend on the images beside it in the batch; accepted are networks that "
        "answer each image by itself in eval mode (batch norm with running statistics, no mean over the batch)"
    )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())
