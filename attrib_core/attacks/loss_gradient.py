"""The gradient that an attack follows: of the cross-entropy, or of the logits' margin where that one vanishes.

A softmax that is saturated has exactly the probabilities 0 and 1 in float32, and the gradient of cross-entropy is
then exactly zero although the network is as easy to fool as before: its gradient is masked (Athalye et al. 2018,
arXiv:1802.00420). An attack that followed it would leave the image where it is and report a robust network. So an
image that is not fooled yet and has a zero gradient follows the gradient of

    (largest other logit) − (logit of the class)

instead, where the class is the label, or the target of a targeted attack. It is the loss of Carlini & Wagner 2016
(arXiv:1608.04644) without its bound, and its sign is that of cross-entropy: an attack climbs it away from the
label, and descends it towards the target. A gradient that is small, but not exactly zero, is followed as it is,
also where the label's probability is rounded to 1, so that its logit has no part in the gradient any more.

A gradient or logits that hold NaN or infinite values are a failure of their image. It stays where it is, and
`failures` says why, so that nobody takes it for a robust one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch, Failures
from attrib_core.classifiers.checks import check_logits
from attrib_core.prepared import PreparedModel, joined, logit_of, loss_of

# One number for each row of logits `[N, K]` and its class `[N]`.
Loss = Callable[[Tensor, Tensor], Tensor]

NOT_FINITE = "NaN or infinite values"


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """What an attack follows at one point of each image, uphill away from the label or the target."""

    logits: Tensor  # [B, K]
    values: Tensor  # [B, C, H, W]; zero where the image failed
    zero: Tensor  # [B], whether the gradient of cross-entropy is exactly zero
    fallback: Tensor  # [B], whether `values` has the margin's gradient, which is not zero
    num_passes: Tensor  # [B], forward passes that it took, each with a backward one


def gradient_at(
    model: PreparedModel,
    batch: AttackBatch,
    images: Tensor,
    failures: Failures,
    where: str = "",
    rows: Tensor | None = None,
) -> Gradient:
    """Return the gradient at images `[B, C, H, W]` of the batch; note the images that fail, `where` in words.

    With `rows` `[N]` the images, and the result, are of these rows alone. Raises ValueError where the classifier
    answers with probabilities.
    """
    classes = batch.classes(rows)
    logits, values, largest, num_passes = _gradient(model, images, classes, loss_of, failures, rows)
    failed = _check(logits, model, failures, where, rows) | ~largest.isfinite()
    failures.note(failed, f"its gradient{where} holds {NOT_FINITE}", rows)
    zero, fallback = largest == 0, torch.zeros_like(failed)
    masked = zero & ~failed & ~batch.succeeds(logits, rows)
    if failures.any(masked, rows):
        at = masked.nonzero()[:, 0]
        of_batch = at if rows is None else rows[at]
        _, margins, largest, more = _gradient(
            model, images[at], classes[at], margin_loss_of, failures, of_batch
        )
        num_passes[at] += more
        values[at], fallback[at], failed[at] = margins, largest > 0, ~largest.isfinite()
        failures.note(failed, f"the gradient of its margin{where} holds {NOT_FINITE}", rows)
    if failures.any(failed, rows):
        values[failed], fallback[failed] = 0, False
    return Gradient(logits=logits, values=values, zero=zero, fallback=fallback, num_passes=num_passes)


def margin_loss_of(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the largest other logit minus that of each row's class, `[N]`."""
    others = logits.detach().scatter(1, classes[:, None], -torch.inf).argmax(1)
    return logit_of(logits, others) - logit_of(logits, classes)


def loss_gradient(
    model: PreparedModel,
    images: Tensor,
    classes: Tensor,
    loss: Loss = loss_of,
) -> tuple[Tensor, Tensor]:
    """Return logits `[N, K]`, and the gradient `[N, C, H, W]` of each image's own loss, cross-entropy by default.

    Neither need be finite.
    """
    gradients: dict[int, Tensor] = {}

    def run(rows: range) -> Tensor:
        part = slice(rows.start, rows.stop)
        logits, (gradients[rows.start],) = model.gradients(
            images[part], [lambda logits: loss(logits, classes[part])]
        )
        return logits

    logits = joined(model.in_passes(len(images), run))
    return logits, joined(list(gradients.values()))


def no_gradient(model: PreparedModel, batch: AttackBatch, images: Tensor, failures: Failures) -> Gradient:
    """Return what `gradient_at` does for an attack that follows no gradient: zeros, and the logits."""
    logits = finite_logits(model, images, model.exact_logits(images), failures)
    _check(logits, model, failures)
    nowhere = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    # The logits are those of the clean image, which no attack without a gradient needs.
    none = torch.zeros(len(images), dtype=torch.long, device=images.device)
    return Gradient(
        logits=logits, values=torch.zeros_like(images), zero=nowhere, fallback=nowhere, num_passes=none
    )


def finite_logits(
    model: PreparedModel, images: Tensor, logits: Tensor, failures: Failures, rows: Tensor | None = None
) -> Tensor:
    """Return logits `[N, K]` of images, those that are not finite computed again in float32.

    A quick pass in float16 may overflow where the network itself does not. The images are those of the batch, or
    of its `rows` `[N]`.
    """
    doubtful = ~is_finite(logits)
    if failures.any(doubtful, rows):
        logits[doubtful] = model.in_float32().exact_logits(images[doubtful])
    return logits


def is_finite(logits: Tensor) -> Tensor:
    """Return whether each row of logits `[..., K]` is finite."""
    return logits.isfinite().all(-1)


def _check(
    logits: Tensor, model: PreparedModel, failures: Failures, where: str = "", rows: Tensor | None = None
) -> Tensor:
    """Return which rows of logits `[B, K]` are not finite, and note them. ValueError for probabilities."""
    failed = ~is_finite(logits)
    failures.note(failed, f"its logits{where} hold {NOT_FINITE}", rows)
    if rows is not None:  # the batch was checked; of a few rows, logits may look like probabilities
        return failed
    # The whole batch is concerned: what no row shows to be logits may be probabilities.
    if failures.hopeful:
        failures.any(~_shows_logits(logits).any().expand_as(failed))
    elif not failed.all():
        check_logits(logits[~failed], model.classifier.name)
    return failed


def _shows_logits(logits: Tensor) -> Tensor:
    """Return which rows of `[B, K]` hold finite numbers that are clearly no probabilities, `[B]`."""
    beyond = (logits < 0).any(1) | ((logits.sum(1) - 1).abs() > 2e-3)
    return beyond & is_finite(logits)


def _gradient(
    model: PreparedModel,
    images: Tensor,
    classes: Tensor,
    loss: Loss,
    failures: Failures,
    rows: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Return what `loss_gradient` does, the largest absolute value `[N]` of each gradient, and its passes.

    What is not finite is computed again in float32. The largest value is NaN where one of them still is.
    """
    logits, values = loss_gradient(model, images, classes, loss)
    largest = _largest(values)
    doubtful = ~(is_finite(logits) & largest.isfinite())
    num_passes = torch.ones(len(images), dtype=torch.long, device=images.device)
    if failures.any(doubtful, rows):
        num_passes[doubtful] += 1
        logits[doubtful], values[doubtful] = loss_gradient(
            model.in_float32(), images[doubtful], classes[doubtful], loss
        )
        largest = _largest(values)
    return logits, values, largest, num_passes


def _largest(gradient: Tensor) -> Tensor:
    return gradient.abs().amax((1, 2, 3))
