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

from attrib_core.attacks.batch import Clean, Failures, Norm, Predictions
from attrib_core.attacks.loss_gradient import finite_logits, is_finite
from attrib_core.host_copies import host_copies
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
    """The first look at the adversarial images of one ε, and which of them need a second one."""

    images: Tensor  # [B, C, H, W]
    logits: Tensor  # [B, K]
    linf: Tensor  # [B]
    l2: Tensor  # [B]
    l1: Tensor  # [B]
    l0: Tensor  # [B]
    doubtful: Tensor  # [B], whether its logits must be computed again
    rounded_linf: Tensor  # [B]
    moved: Tensor  # [B], whether the rounded image needs a pass of its own


def inspect(
    model: PreparedModel,
    clean: Clean,
    points: Iterable[Tensor],
    failures: Failures,
    *,
    rounding: bool,
    known: Tensor | None = None,
) -> Inspection:
    """Classify the adversarial images of each ε in turn; `points` yields E times `[B, C, H, W]`.

    `known` are logits `[B, K]` that they have for sure. The host waits once, for which images need a second look.
    """
    looks = [_look(model, clean, images, failures, known, rounding=rounding) for images in points]
    logits = torch.stack([look.logits for look in looks], 1)
    rechecked = torch.stack([look.doubtful for look in looks])  # [E, B], ε by ε
    doubtful, moved = host_copies([rechecked, torch.stack([look.moved for look in looks])])
    if doubtful.any():
        images, rows, levels = _chosen(model, looks, doubtful)
        answers = finite_logits(model, images, model.exact_logits(images), failures, rows)
        logits[rows, levels] = answers
    finite = is_finite(logits)
    rounded_linf = torch.stack([look.rounded_linf for look in looks], 1)
    rounded = torch.where(rounded_linf == 0, clean.logits.argmax(1, keepdim=True), logits.argmax(2))
    if moved.any():
        images, rows, levels = _chosen(model, looks, moved)
        images = _rounded(images)
        answers = finite_logits(model, images, model.logits(images), failures, rows)
        rounded[rows, levels] = answers.argmax(1)
        finite[rows, levels] &= is_finite(answers)
    return Inspection(
        logits=logits,
        finite=finite,
        rechecked=rechecked.T,
        linf=torch.stack([look.linf for look in looks], 1),
        l2=torch.stack([look.l2 for look in looks], 1),
        l1=torch.stack([look.l1 for look in looks], 1),
        l0=torch.stack([look.l0 for look in looks], 1),
        rounded_prediction=rounded,
        rounded_linf=rounded_linf,
    )


def _chosen(model: PreparedModel, looks: list[_Look], wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the images `[N, C, H, W]` that are wanted, ε by ε, with their rows and columns `[N]` in the result.

    `wanted` is `[E, B]`, on the host: so their number is known without a question to the device.
    """
    levels, rows = model.execution.to_device(wanted.nonzero().T)
    parts = rows.split(wanted.sum(1).tolist())
    images = [look.images[part] for look, part in zip(looks, parts, strict=True) if len(part)]
    return torch.cat(images), rows, levels


@torch.inference_mode()
def _look(
    model: PreparedModel,
    clean: Clean,
    images: Tensor,
    failures: Failures,
    known: Tensor | None,
    *,
    rounding: bool,
) -> _Look:
    difference = (images - clean.images).flatten(1)
    absolute = difference.abs()
    linf = absolute.amax(1)  # ten times as fast as `vector_norm`
    untouched = linf == 0
    # To ask whether all of them are is free on a CPU.
    if images is clean.images or (not failures.hopeful and untouched.all()):
        logits, doubtful = clean.logits.clone(), torch.zeros_like(untouched)
    else:
        if known is None:
            logits, doubtful = model.first_look(images)
        else:
            logits, doubtful = known, torch.zeros_like(untouched)
        doubtful = (doubtful | ~is_finite(logits)) & ~untouched
        logits = torch.where(untouched[:, None], clean.logits, logits)
    rounded_linf, moved = _round(clean, images, logits) if rounding else (linf, torch.zeros_like(untouched))
    return _Look(
        images=images,
        logits=logits,
        linf=linf,
        l2=torch.linalg.vector_norm(difference, dim=1),
        l1=absolute.sum(1),
        l0=num_nonzero(absolute),
        doubtful=doubtful,
        rounded_linf=rounded_linf,
        moved=moved,
    )


def num_nonzero(absolute: Tensor) -> Tensor:
    """Return how many of the values `[B, N]`, none of which is negative, are above zero, `[B]`."""
    # Six times as fast as `count_nonzero`; float32 counts to 2^24.
    exact = absolute.shape[1] <= 2**24
    return absolute.sign().sum(1).long() if exact else absolute.count_nonzero(1)


def _round(clean: Clean, images: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far images `[B, C, H, W]` are from the clean ones after rounding to 8 bits, and which of them
    have logits that do not answer for the rounded image too, `[B]` each.
    """
    rounded = _rounded(images)
    linf = _largest_difference(rounded, clean.images)
    moved = _largest_difference(rounded, images) > SAME_PIXEL
    return linf, (moved | (lead(logits) < SAFE_LEAD)) & (linf > 0)


def _rounded(images: Tensor) -> Tensor:
    return images.clamp(0, 1).mul_(255).round_().div_(255)


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
    return Predictions(prediction=logits.argmax(-1), confidence=confidence, margin=margin)


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the cross-entropy of logits `[..., K]` and classes that broadcast to `[...]`."""
    own = logits.gather(-1, classes.expand(logits.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    return _partition(logits).log() + (logits.amax(-1) - own)


def _partition(logits: Tensor) -> Tensor:
    """Return the softmax's denominator when its largest numerator is 1."""
    # For ten classes ten times as fast as softmax.
    return (logits - logits.amax(-1, keepdim=True)).exp_().sum(-1)
