"""What a classifier makes of adversarial images, and how far they are from the clean ones.

No image is looked at twice: one that equals the clean image has its logits, and one that rounding to 8 bits leaves
in place has the prediction that it had. What is left over from all values of ε, rounded images and those that a
quick pass left in doubt, is computed in batches of full size.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks.model import AttackedModel, gap

# Rounding to 8 bits that moves no pixel by more than this moved it by the last bits of a float32 ...
SAME_PIXEL = 1e-6
# ... and cannot change a prediction whose logit leads by more than this.
SAFE_GAP = 0.05


@dataclass(frozen=True)
class Clean:
    """Clean images `[B, C, H, W]` in [0, 1] and their logits `[B, K]`."""

    images: Tensor
    logits: Tensor


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found: one row an image, one column an ε."""

    logits: Tensor  # [B, E, K]
    rechecked: Tensor  # [B, E]
    linf: Tensor  # [B, E]
    l2: Tensor  # [B, E]
    rounded_prediction: Tensor  # [B, E]
    rounded_linf: Tensor  # [B, E]


@dataclass(frozen=True, kw_only=True)
class _Look:
    """The first look at the adversarial images of one ε, and what it leaves to do."""

    logits: Tensor  # [B, K]
    linf: Tensor  # [B]
    l2: Tensor  # [B]
    doubtful: Tensor  # [B]
    doubtful_images: Tensor  # [D, C, H, W]
    rounded_linf: Tensor  # [B]
    moved: Tensor  # [B], whether the rounded image is to be looked at
    moved_images: Tensor  # [M, C, H, W], rounded


@dataclass(frozen=True)
class _Rounded:
    """Images after rounding to 8 bits `[B, C, H, W]`, their distance to the clean ones, whether to look again."""

    images: Tensor
    linf: Tensor  # [B]
    moved: Tensor  # [B]


def inspect(model: AttackedModel, clean: Clean, points: Iterable[Tensor], *, rounding: bool) -> Inspection:
    """Looks at the adversarial images of each ε in turn; `points` yields E times `[B, C, H, W]`."""
    looks = [_look(model, clean, images, rounding=rounding) for images in points]
    size = len(clean.images)
    logits = torch.stack([look.logits for look in looks], 1)
    doubtful = torch.stack(
        [look.doubtful for look in looks]
    )  # [E, B], the order in which images were set aside
    if doubtful.any():
        exact = _in_batches(model.exact_logits, [look.doubtful_images for look in looks], size)
        logits.transpose(0, 1)[doubtful] = exact
    rounded_linf = torch.stack([look.rounded_linf for look in looks], 1)
    rounded = torch.where(rounded_linf == 0, clean.logits.argmax(1, keepdim=True), logits.argmax(2))
    moved = torch.stack([look.moved for look in looks])
    if moved.any():
        answers = _in_batches(model.trusted_logits, [look.moved_images for look in looks], size)
        rounded.T[moved] = answers.argmax(1)
    return Inspection(
        logits=logits,
        rechecked=doubtful.T,
        linf=torch.stack([look.linf for look in looks], 1),
        l2=torch.stack([look.l2 for look in looks], 1),
        rounded_prediction=rounded,
        rounded_linf=rounded_linf,
    )


@torch.inference_mode()
def _look(model: AttackedModel, clean: Clean, images: Tensor, *, rounding: bool) -> _Look:
    difference = (images - clean.images).flatten(1)
    linf = difference.abs().amax(1)  # ten times as fast as `vector_norm`
    untouched = linf == 0
    logits = clean.logits.clone() if untouched.all() else model.logits(images)
    logits[untouched] = clean.logits[untouched]
    doubtful = model.doubtful(logits) & ~untouched
    rounded = (
        _round(clean, images, logits) if rounding else _Rounded(images, linf, torch.zeros_like(untouched))
    )
    return _Look(
        logits=logits,
        linf=linf,
        l2=torch.linalg.vector_norm(difference, dim=1),
        doubtful=doubtful,
        doubtful_images=images[doubtful],
        rounded_linf=rounded.linf,
        moved=rounded.moved,
        moved_images=rounded.images[rounded.moved],
    )


def _round(clean: Clean, images: Tensor, logits: Tensor) -> _Rounded:
    """The images rounded to 8 bits, and whether their logits say nothing of the rounded ones' predictions."""
    rounded = images.clamp(0, 1).mul_(255).round_().div_(255)
    linf = _largest_difference(rounded, clean.images)
    moved = _largest_difference(rounded, images) > SAME_PIXEL
    return _Rounded(rounded, linf, (moved | (gap(logits) < SAFE_GAP)) & (linf > 0))


def _largest_difference(images: Tensor, others: Tensor) -> Tensor:
    return (images - others).abs_().flatten(1).amax(1)


def _in_batches(run: Callable[[Tensor], Tensor], parts: list[Tensor], size: int) -> Tensor:
    return torch.cat([run(images) for images in torch.split(torch.cat(parts), size)])
