"""What came of an attack on a batch, brought to the host in one copy."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from attrib_core.attacks.batch import (
    AttackBatch,
    AttackResult,
    AttackSettings,
    Attempt,
    Keep,
    Predictions,
)
from attrib_core.attacks.inspection import Inspection, cross_entropy, inspect, norm_of, predictions
from attrib_core.attacks.loss_gradient import NOT_FINITE
from attrib_core.host_copies import host_copies
from attrib_core.prepared import PreparedModel

Facts = TypeVar("Facts", AttackResult, Predictions)


def result_of(
    model: PreparedModel, batch: AttackBatch, attempt: Attempt, settings: AttackSettings, keep: Keep
) -> tuple[AttackResult, list[int]]:
    """Make the attempt's adversarial images, and return the facts about them and the rows that are unsettled."""
    kept = model.execution.to_device(torch.tensor(keep.images, dtype=torch.long))
    adversarial_images: list[Tensor] = []

    def points() -> Iterator[Tensor]:
        for images in attempt.points:
            adversarial_images.append(images[kept])
            yield images

    known = attempt.point_logits
    seen = inspect(model, attempt.clean, points(), attempt.failures, rounding=settings.rounding, known=known)
    attempt.failures.note(~seen.finite.all(1), f"its logits under attack hold {NOT_FINITE}")
    labels, failures = batch.labels, attempt.failures
    result = AttackResult(
        epsilons=_epsilons(attempt, batch, seen),
        clean=predictions(attempt.clean.logits, labels),
        adversarial=predictions(seen.logits, labels[:, None]),
        loss=cross_entropy(seen.logits, batch.loss_labels[:, None]),
        linf=seen.linf,
        l2=seen.l2,
        l1=seen.l1,
        l0=seen.l0,
        rounded_prediction=seen.rounded_prediction,
        rounded_linf=seen.rounded_linf,
        num_forwards=torch.stack([each.forwards for each in attempt.passes], 1).double(),
        num_backwards=torch.stack([each.backwards for each in attempt.passes], 1).double(),
        zero_gradient=attempt.zero_gradient,
        gradient_fallback=torch.stack(attempt.fallbacks, 1),
        rechecked=seen.rechecked,
        failures=tuple(failures.reasons.get(row) for row in range(len(labels))),
        direction=_directions(model, attempt.direction, keep),
        adversarial_images=torch.stack(adversarial_images, 1),
        clean_images=batch.images[kept],
    )
    on_host, [unsettled] = _on_host(result, [failures.unsettled])
    rows: list[int] = unsettled.nonzero()[:, 0].tolist()
    return (_without_failed(on_host) if failures.reasons else on_host), rows


def with_rows(result: AttackResult, rows: Sequence[int], found: AttackResult, keep: Keep) -> AttackResult:
    """Return the result with the facts that `found` has about some rows, and its images of `keep`."""
    at = torch.tensor(rows)
    failures = dict(enumerate(result.failures)) | dict(zip(rows, found.failures, strict=True))

    def put(tensor: Tensor, others: Tensor) -> Tensor:
        return tensor.index_copy(0, at, others)

    def put_images(images: Tensor, others: Tensor, kept: Sequence[int]) -> Tensor:
        positions = [position for position, row in enumerate(kept) if row in set(rows)]
        return images.index_copy(0, torch.tensor(positions, dtype=torch.long), others)

    direction = result.direction
    if direction is not None and found.direction is not None:
        kept = range(len(result.failures)) if keep.directions is None else keep.directions
        direction = put_images(direction, found.direction, kept)
    return replace(
        _combined(result, found, put),
        failures=tuple(failures.values()),
        direction=direction,
        adversarial_images=put_images(result.adversarial_images, found.adversarial_images, keep.images),
        clean_images=result.clean_images,
    )


def _combined(facts: Facts, others: Facts, put: Callable[[Tensor, Tensor], Tensor]) -> Facts:
    """Return facts with those of other images put into each tensor that has a row an image."""
    changed: dict[str, Any] = {}
    for field in fields(facts):
        value, other = getattr(facts, field.name), getattr(others, field.name)
        if is_dataclass(value):
            changed[field.name] = _combined(value, other, put)
        elif isinstance(value, Tensor) and not field.name.endswith("images") and field.name != "direction":
            changed[field.name] = put(value, other)
    return replace(facts, **changed)


def _on_host(result: AttackResult, more: list[Tensor]) -> tuple[AttackResult, list[Tensor]]:
    """Return the result, and more tensors, with all tensors on the CPU, in one copy."""
    tensors = [*_tensors(result), *more]
    copies = host_copies(tensors)
    left = iter(copies)
    return _replaced(result, left), list(left)


def _tensors(facts: AttackResult | Predictions) -> Iterator[Tensor]:
    for field in fields(facts):
        value = getattr(facts, field.name)
        if isinstance(value, Predictions):
            yield from _tensors(value)
        elif isinstance(value, Tensor):
            yield value


def _replaced(facts: Facts, tensors: Iterator[Tensor]) -> Facts:
    """Return facts with other tensors, in the order of `_tensors`."""
    changed: dict[str, Any] = {}
    for field in fields(facts):
        value = getattr(facts, field.name)
        if isinstance(value, Predictions):
            changed[field.name] = _replaced(value, tensors)
        elif isinstance(value, Tensor):
            changed[field.name] = next(tensors)
    return replace(facts, **changed)


def _directions(model: PreparedModel, directions: Tensor | None, keep: Keep) -> Tensor | None:
    if directions is None or keep.directions is None:
        return directions
    return directions[model.execution.to_device(torch.tensor(keep.directions, dtype=torch.long))]


def _epsilons(attempt: Attempt, batch: AttackBatch, seen: Inspection) -> Tensor:
    """Return ε `[B, E]`: those of the attempt, or the norm of what it found where that succeeds."""
    if attempt.found_norm is None:
        return attempt.epsilons
    succeeds = torch.stack([batch.succeeds(logits) for logits in seen.logits.unbind(1)], 1)
    return norm_of(seen, attempt.found_norm).where(succeeds, torch.nan)


def _without_failed(result: AttackResult) -> AttackResult:
    """Return the result with no facts about images that could not be attacked: none passes for a robust one."""
    failed = torch.tensor([reason is not None for reason in result.failures])

    def blank(facts: Tensor, value: float) -> Tensor:
        return facts.masked_fill(failed.view(-1, *[1] * (facts.ndim - 1)), value)

    def blank_predictions(found: Predictions) -> Predictions:
        return Predictions(
            prediction=blank(found.prediction, -1),
            confidence=blank(found.confidence, torch.nan),
            margin=blank(found.margin, torch.nan),
        )

    return replace(
        result,
        epsilons=blank(result.epsilons, -1),
        clean=blank_predictions(result.clean),
        adversarial=blank_predictions(result.adversarial),
        loss=blank(result.loss, torch.nan),
        linf=blank(result.linf, torch.nan),
        l2=blank(result.l2, torch.nan),
        l1=blank(result.l1, torch.nan),
        l0=blank(result.l0, -1),
        num_forwards=blank(result.num_forwards, torch.nan),
        num_backwards=blank(result.num_backwards, torch.nan),
        rounded_prediction=blank(result.rounded_prediction, -1),
        rounded_linf=blank(result.rounded_linf, torch.nan),
    )
