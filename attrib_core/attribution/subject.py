"""A batch of images under explanation, and the results that its methods share."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar, get_args

from torch import Tensor

from attrib_core.attribution.settings import AttributionSettings, Target
from attrib_core.classifiers.checks import check_logits
from attrib_core.host_copies import host_copies
from attrib_core.prepared import Objective, PreparedModel, joined, logit_of, loss_of

# Whose gradient at the image a method needs: the target's, or the loss's whatever the target is.
Explained = Literal["target", "loss"]
ORDER: tuple[Explained, ...] = get_args(Explained)
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Images, what is explained about them, and the clean pass that all methods share."""

    model: PreparedModel
    settings: AttributionSettings
    target: Target
    images: Tensor  # [B, C, H, W] in [0, 1], on the device
    keys: tuple[int, ...]  # [B]
    classes: Tensor  # [B], whose logit or loss is explained, fixed by the clean images
    labels: Tensor  # [B], whose loss methods of the loss explain
    logits: Tensor  # [B, K], of the clean images
    gradients: dict[Explained, Tensor]  # [B, C, H, W] each, those that were asked for
    found: dict[Any, Any] = field(default_factory=dict, repr=False)  # by function and settings

    def once(self, compute: Callable[["Subject"], Result]) -> Result:
        """Return `compute(self)`, computed the first time that a method of these settings asks for it."""
        key = compute, self.settings
        if key not in self.found:
            self.found[key] = compute(self)
        found: Result = self.found[key]
        return found

    def with_settings(self, changes: Mapping[str, Any]) -> "Subject":
        """Return the subject under other settings; it shares what was found."""
        return replace(self, settings=replace(self.settings, **changes))

    def explained(self, logits: Tensor, rows: slice | Tensor) -> Tensor:
        """Return the explained number `[N]` at logits `[N, K]`, which belong to the images `rows` (an index)."""
        return objective(self.target, self.classes[rows])(logits)

    def part(self, start: int, stop: int) -> "Subject":
        """Return the subject of the images from `start` to `stop`."""
        rows = slice(start, stop)
        return replace(
            self,
            images=self.images[rows],
            keys=self.keys[rows],
            classes=self.classes[rows],
            labels=self.labels[rows],
            logits=self.logits[rows],
            gradients={name: gradient[rows] for name, gradient in self.gradients.items()},
            found={},
        )


def objective(target: Target, classes: Tensor) -> Objective:
    """Return the function from logits `[N, K]` to the explained number `[N]` of their classes `[N]`."""
    return partial(loss_of if target == "loss" else logit_of, classes=classes)


def clean_pass(
    model: PreparedModel,
    images: Tensor,
    labels: Tensor,
    target: Target,
    wanted: Collection[Explained | None],
    *,
    explained: Tensor | None = None,
    is_checked: bool = True,
) -> tuple[Tensor, dict[Explained, Tensor]]:
    """Return logits `[B, K]` and the wanted gradients `[B, C, H, W]`, from one forward pass an image.

    `explained` are the classes `[B]` that target "predicted" explains; None are those that the model predicts.
    Raises ValueError where the classifier does not answer with logits, unless the caller checks them, later.
    """
    is_given = explained is not None
    objectives = {name: _clean_objective(name, target, is_given=is_given) for name in ORDER if name in wanted}
    classes = labels if explained is None or target != "predicted" else explained
    gradients: list[list[Tensor]] = []

    def run(rows: range) -> Tensor:
        part = slice(rows.start, rows.stop)
        if not objectives:
            return model.exact_logits(images[part])
        # Where two names stand for one objective, one backward pass serves both.
        distinct = {
            each: partial(each, classes=(labels if each is loss_of else classes)[part])
            for each in objectives.values()
        }
        logits, found = model.gradients(images[part], list(distinct.values()))
        by_objective = dict(zip(distinct, found, strict=True))
        gradients.append([by_objective[each] for each in objectives.values()])
        return logits

    logits = joined(model.in_passes(len(images), run))
    if is_checked:
        (on_host,) = host_copies([logits])
        check_logits(on_host, model.classifier.name)
    columns = zip(*gradients, strict=True)
    return logits, {name: joined(list(found)) for name, found in zip(objectives, columns, strict=True)}


def explained_classes(
    target: Target, logits: Tensor, labels: Tensor, explained: Tensor | None = None
) -> Tensor:
    """Return the classes `[B]` whose logit or loss is explained; see `clean_pass`."""
    if target != "predicted":
        return labels
    return logits.argmax(1) if explained is None else explained


def _clean_objective(name: Explained, target: Target, *, is_given: bool) -> Callable[..., Tensor]:
    """Return the function from logits `[N, K]` and labels `[N]` to the explained number of clean images `[N]`."""
    if name == "loss" or target == "loss":
        return loss_of
    return _largest_logit if target == "predicted" and not is_given else logit_of


def _largest_logit(logits: Tensor, classes: Tensor) -> Tensor:
    return logit_of(logits, logits.argmax(1))
