"""How well an attribution ranks pixels: how soon the class is gone without them, and there with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attribution.baselines import blurred
from attrib_core.attribution.scores.score import Columns, Scored
from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_classes
from attrib_core.host_copies import host_copies
from attrib_core.prepared import PreparedModel, prepared, probability_of

DELETION, INSERTION = "deletion_score", "insertion_score"


def deletion(scored: Scored, _settings: None) -> Columns:
    """Return deletion scores. What a constant map ranks first is chance, so it has none."""
    return {DELETION: _by_method(scored, 0)}


def insertion(scored: Scored, _settings: None) -> Columns:
    """Return insertion scores; a constant map has none."""
    return {INSERTION: _by_method(scored, 1)}


def _by_method(scored: Scored, place: int) -> Tensor:
    pairs = scored.once(_ranked)
    areas = torch.stack([pair[place] for pair in pairs], 1)
    return torch.where(scored.is_constant, torch.nan, areas)


def _ranked(scored: Scored) -> list[tuple[Tensor, Tensor]]:
    return ranking_scores(
        scored.subject.model, scored.subject.images, list(scored.support.values()), scored.classes
    )


def deletion_and_insertion(
    model: Classifier | PreparedModel,
    images: Tensor,
    attribution: Tensor,
    classes: Tensor,
    *,
    num_steps: int = 20,
) -> tuple[Tensor, Tensor]:
    """Return deletion and insertion scores, `[B]` each in [0, 1], on the CPU. Petsiuk et al. 2018,
    arXiv:1806.07421.

    Pixels of images `[B, C, H, W]` are ranked by their attribution summed over channels, equal ones by position,
    and changed in `num_steps` equal fractions: blackened for deletion, uncovered over the blurred image for
    insertion. A score is the area under the softmax probability of `classes` `[B]`: a good ranking has a low
    deletion score and a high insertion score. Raises ValueError for what cannot be.
    """
    model = prepared(model, images)
    _check(model.classifier, images, attribution, classes, num_steps)
    images, classes = model.images(images.detach().float()), classes.to(model.device).long()
    [scores] = ranking_scores(model, images, [attribution.detach().to(images)], classes, num_steps=num_steps)
    deletion, insertion = host_copies(scores)
    return deletion, insertion


def ranking_scores(
    model: PreparedModel,
    images: Tensor,
    attributions: Sequence[Tensor],
    classes: Tensor,
    *,
    num_steps: int = 20,
) -> list[tuple[Tensor, Tensor]]:
    """Return what `deletion_and_insertion` does for each of several attributions, all on the model's device.

    The host waits once, for which steps change which image. Raises ValueError for NaN and infinite values.
    """
    ways = _Way(images, torch.zeros_like(images)), _Way(blurred(images), images)
    steps = [_steps(each, num_steps) for each in attributions]
    changes = [way.changes(step, num_steps) for step in steps for way in ways]
    finite = torch.stack([each.isfinite().all() for each in attributions])
    finite, *on_host = host_copies([finite, *changes])
    if not finite.all():
        raise ValueError("attribution: it holds NaN or infinite values")
    walks = zip(((step, way) for step in steps for way in ways), changes, on_host, strict=True)
    areas = [
        _area(model, way, step, classes, _Changes(on_device, on_host))
        for (step, way), on_device, on_host in walks
    ]
    return list(zip(areas[::2], areas[1::2], strict=True))


@dataclass(frozen=True)
class _Way:
    """The images `[B, C, H, W]` between which pixels are changed."""

    start: Tensor
    end: Tensor

    def changes(self, step: Tensor, num_steps: int) -> Tensor:
        """Return which steps change the image, `[B, num_steps + 1]`; the start counts as a change."""
        differs = (self.start != self.end).any(1).flatten(1)
        changes = torch.zeros(len(step), num_steps + 1, dtype=torch.bool, device=step.device)
        changes.scatter_(1, torch.where(differs, step, 0), True)
        changes[:, 0] = True
        return changes


@dataclass(frozen=True)
class _Changes:
    """Which steps change the image, `[B, num_steps + 1]`, on the device and on the host."""

    on_device: Tensor
    on_host: Tensor


def _steps(attribution: Tensor, num_steps: int) -> Tensor:
    """Return the step, 1 to `num_steps`, at which each pixel changes: `[B, H · W]`, the largest attribution
    first.
    """
    order = attribution.sum(1).flatten(1).argsort(dim=1, descending=True, stable=True)
    num_pixels = order.shape[1]
    places = torch.arange(num_pixels, device=order.device)
    return torch.empty_like(order).scatter_(1, order, (places * num_steps // num_pixels + 1).expand_as(order))


def _area(model: PreparedModel, way: _Way, step: Tensor, classes: Tensor, changes: _Changes) -> Tensor:
    """Return the area under the probability of `classes` on the way: `[B]`.

    Most steps of most images change nothing: blackening what is black. So only the steps that change the image
    pass through the network, those of all images one after the other, and the probability curve is filled up
    between.
    """
    start, end = way.start, way.end
    pairs = model.execution.to_device(changes.on_host.nonzero())  # [N, 2]: image, step

    def run(part: range) -> Tensor:
        image, at = pairs[part.start : part.stop].unbind(1)
        changed = (step[image] <= at[:, None]).view(-1, 1, *start.shape[-2:])
        logits = model.exact_logits(torch.where(changed, end[image], start[image]))
        return probability_of(logits, classes[image])

    table = start.new_zeros(changes.on_device.shape)
    table[pairs[:, 0], pairs[:, 1]] = torch.cat(model.in_passes(len(pairs), run))
    # A step that changes nothing has the probability of the last one that did.
    num_steps = table.shape[1] - 1
    columns = torch.arange(num_steps + 1, device=start.device)
    curve = table.gather(1, torch.where(changes.on_device, columns, 0).cummax(1).values)
    return torch.trapezoid(curve, dx=1 / num_steps).clamp_(0, 1)


def _check(
    classifier: Classifier, images: Tensor, attribution: Tensor, classes: Tensor, num_steps: int
) -> None:
    check_classes("classes", classes, len(images), classifier.num_classes)
    if attribution.shape != images.shape:
        raise ValueError(
            f"attribution {list(attribution.shape)}: accepted is the images' {list(images.shape)}"
        )
    if num_steps < 1:
        raise ValueError(f"num_steps={num_steps}: accepted are 1 and more")
