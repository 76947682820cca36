"""What a classifier predicts for adversarial images, and how far they are from the clean ones.

No image is passed through the network twice. One that equals the clean image has its logits; one that rounding
to 8 bits leaves in place has the prediction that it had. The images of all ε that remain, rounded ones and those
whose quick logits are in doubt, are collected and computed in full batches at the end: batch by batch, each ε
would leave a few, and a pass costs the same for a few as for many.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks.batch import Clean, Norm, Predictions
from attrib_core.attacks.loss_gradient import finite_logits, is_finite
from attrib_core.prepared import PreparedModel

# An image on the 8-bit grid (clean, or under FGSM at whole levels of ε) is moved by rounding only in the last bits
# of its float32 values: by less than this ...
SAME_PIXEL = 1e-6
# ... and such a change cannot turn a prediction whose logit leads by more than this. So most rounded images need
# no forward pass of their own.
SAFE_LEAD = 0.05


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Facts about adversarial images: one row an image, one column an ε."""

    logits: Tensor  # [B, E, K]
    finite: Tensor  # [B, E], whether the logits of the image, and of the rounded one, hold numbers alone
    rechecked: Tensor  # [B, E]
    linf: Tensor  # [B, E]
    l2: Tensor  # [B, E]
    l1: Tensor  # [B, E]
    l0: Tensor  # [B, E]
    rounded_prediction: Tensor  # [B, E]
    rounded_linf: Tensor  # [B, E]


@dataclass(frozen=True, kw_only=True)
class _Look:
    """The first look at the adversarial images of one ε, and the images that need a second one."""

    logits: Tensor  # [B, K]
    linf: Tensor  # [B]
    l2: Tensor  # [B]
    l1: Tensor  # [B]
    l0: Tensor  # [B]
    doubtful: Tensor  # [B], whether its logits must be computed again
    doubtful_images: Tensor  # [D, C, H, W]
    rounded_linf: Tensor  # [B]
    moved: Tensor  # [B], whether the rounded image needs a pass of its own
    moved_images: Tensor  # [M, C, H, W], rounded


@dataclass(frozen=True)
class _Rounded:
    """Images after rounding to 8 bits `[B, C, H, W]`, their distance to the clean ones, and which need a pass."""

    images: Tensor
    linf: Tensor  # [B]
    moved: Tensor  # [B]


def inspect(model: PreparedModel, clean: Clean, points: Iterable[Tensor], *, rounding: bool) -> Inspection:
    """Classify the adversarial images of each ε in turn; `points` yields E times `[B, C, H, W]`."""
    looks = [_look(model, clean, images, rounding=rounding) for images in points]
    logits = torch.stack([look.logits for look in looks], 1)
    # [E, B], the order in which images were set aside: ε by ε
    doubtful = torch.stack([look.doubtful for look in looks])
    if doubtful.any():
        images = torch.cat([look.doubtful_images for look in looks])
        logits.transpose(0, 1)[doubtful] = finite_logits(model, images, model.exact_logits(images))
    finite = is_finite(logits)
    rounded_linf = torch.stack([look.rounded_linf for look in looks], 1)
    rounded = torch.where(rounded_linf == 0, clean.logits.argmax(1, keepdim=True), logits.argmax(2))
    moved = torch.stack([look.moved for look in looks])
    if moved.any():
        images = torch.cat([look.moved_images for look in looks])
        answers = finite_logits(model, images, model.logits(images))
        rounded.T[moved] = answers.argmax(1)
        finite.T[moved] &= is_finite(answers)
    return Inspection(
        logits=logits,
        finite=finite,
        rechecked=doubtful.T,
        linf=torch.stack([look.linf for look in looks], 1),
        l2=torch.stack([look.l2 for look in looks], 1),
        l1=torch.stack([look.l1 for look in looks], 1),
        l0=torch.stack([look.l0 for look in looks], 1),
        rounded_prediction=rounded,
        rounded_linf=rounded_linf,
    )


@torch.inference_mode()
def _look(model: PreparedModel, clean: Clean, images: Tensor, *, rounding: bool) -> _Look:
    difference = (images - clean.images).flatten(1)
    absolute = difference.abs()
    linf = absolute.amax(1)  # ten times as fast as `vector_norm`
    untouched = linf == 0
    if untouched.all():
        logits, doubtful = clean.logits.clone(), torch.zeros_like(untouched)
    else:
        logits, doubtful = model.first_look(images)
        doubtful |= ~is_finite(logits)
        logits[untouched], doubtful = clean.logits[untouched], doubtful & ~untouched
    rounded = (
        _round(clean, images, logits) if rounding else _Rounded(images, linf, torch.zeros_like(untouched))
    )
    return _Look(
        logits=logits,
        linf=linf,
        l2=torch.linalg.vector_norm(difference, dim=1),
        l1=absolute.sum(1),
        l0=absolute.count_nonzero(1),
        doubtful=doubtful,
        doubtful_images=images[doubtful],
        rounded_linf=rounded.linf,
        moved=rounded.moved,
        moved_images=rounded.images[rounded.moved],
    )


def _round(clean: Clean, images: Tensor, logits: Tensor) -> _Rounded:
    """Round images to 8 bits, and find those whose logits do not answer for the rounded image too."""
    rounded = images.clamp(0, 1).mul_(255).round_().div_(255)
    linf = _largest_difference(rounded, clean.images)
    moved = _largest_difference(rounded, images) > SAME_PIXEL
    return _Rounded(rounded, linf, (moved | (lead(logits) < SAFE_LEAD)) & (linf > 0))


def _largest_difference(images: Tensor, others: Tensor) -> Tensor:
    return (images - others).abs_().flatten(1).amax(1)


def lead(logits: Tensor) -> Tensor:
    """Return by how much the largest logit of each row is above the second, `[B]`."""
    largest = logits.topk(2, dim=1).values
    return largest[:, 0] - largest[:, 1]


def norm_of(seen: Inspection, norm: Norm) -> Tensor:
    """Return one of the norms of the changes, `[B, E]` float64."""
    return {"linf": seen.linf, "l2": seen.l2, "l1": seen.l1, "l0": seen.l0}[norm].double()


def predictions(logits: Tensor, labels: Tensor) -> Predictions:
    """Return what logits `[..., K]` predict, beside labels that broadcast to `[...]`."""
    label = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    confidence = 1 / _partition(logits)
    others = logits.scatter(-1, label, -torch.inf).amax(-1)
    margin = logits.gather(-1, label).squeeze(-1) - others
    # The class of the largest logit: two of the probabilities may be equal where the logits are not.
    return Predictions(prediction=logits.argmax(-1).cpu(), confidence=confidence.cpu(), margin=margin.cpu())


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the cross-entropy of logits `[..., K]` and classes that broadcast to `[...]`, on the CPU."""
    own = logits.gather(-1, classes.expand(logits.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    return (_partition(logits).log() + (logits.amax(-1) - own)).cpu()


def _partition(logits: Tensor) -> Tensor:
    """Return the softmax's denominator when its largest numerator is 1."""
    # For ten classes ten times as fast as softmax.
    return (logits - logits.amax(-1, keepdim=True)).exp_().sum(-1)
