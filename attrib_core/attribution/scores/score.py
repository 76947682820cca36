"""What a score of attributions is, and what it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from attrib_core.attribution.method import Method
from attrib_core.attribution.subject import Subject
from attrib_core.host_copies import host_copies

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A batch under explanation, and its attributions by M methods."""

    subject: Subject
    methods: Mapping[str, Method]
    values: Mapping[str, Tensor]  # [B, C, H, W] by method, on the model's device
    classes: Tensor  # [B], whose probability deletion, insertion and road follow
    boxes: Tensor | None = None  # [B, n, 4], left, top, right, bottom in pixels; rows of NaN are none
    found: dict[Any, Any] = field(default_factory=dict, repr=False)  # by function

    def once(self, compute: Callable[["Scored"], Result]) -> Result:
        """Return `compute(self)`, computed the first time that a score asks for it."""
        if compute not in self.found:
            self.found[compute] = compute(self)
        found: Result = self.found[compute]
        return found

    @cached_property
    def support(self) -> dict[str, Tensor]:
        """Values `[B, C, H, W]` that are largest where a pixel speaks for the class: of a loss, what lowers it."""
        return {name: -values if self._falls(name) else values for name, values in self.values.items()}

    @cached_property
    def is_constant(self) -> Tensor:
        """Whether all pixels of a map, summed over channels, are equal, so that they have no order: `[B, M]`."""
        return torch.stack([_is_constant(values.sum(1)) for values in self.values.values()], 1)

    def _falls(self, name: str) -> bool:
        method = self.methods[name]
        return method.is_signed and (self.subject.target == "loss" or method.explains_loss)


def check_finite(scored: Scored) -> None:
    """Raise ValueError that names a method whose values are NaN or infinite; the host waits for it."""
    [is_finite] = host_copies([torch.stack([values.isfinite().all() for values in scored.values.values()])])
    for name, good in zip(scored.values, is_finite.tolist(), strict=True):
        if not good:
            raise ValueError(f"attribution: that of {name} holds NaN or infinite values")


# Numbers [B, M] by column; NaN where one is not defined.
Columns = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score of attributions: the columns that it fills, and how.

    `settings` is None, or a frozen dataclass with the defaults of what a reference may set. One that `needs_boxes`
    is for images with boxes.
    """

    columns: tuple[str, ...]
    compute: Callable[[Scored, Any], Columns]
    settings: Any = None
    needs_boxes: bool = False

    def __call__(self, scored: Scored) -> Columns:
        """Return numbers `[B, M]` by column, NaN where one is not defined."""
        return self.compute(scored, self.settings)

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that a reference may give."""
        return () if self.settings is None else tuple(each.name for each in fields(self.settings))

    def check_images(self, height: int, width: int) -> None:
        """Raise ValueError where the settings do not fit images of `height` × `width`."""
        check = getattr(self.settings, "check_images", None)
        if check is not None:
            check(height, width)

    def describe(self) -> str:
        """Return in words which settings shape the numbers; empty if none do."""
        return ", ".join(f"{name} {getattr(self.settings, name)}" for name in self.names)

    def with_settings(self, changes: Mapping[str, Any]) -> "Score":
        """Return the score under some other settings."""
        return replace(self, settings=replace(self.settings, **changes))


def _is_constant(maps: Tensor) -> Tensor:
    return maps.amax((1, 2)) == maps.amin((1, 2))
