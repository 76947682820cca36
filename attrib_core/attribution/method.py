"""What an attribution method is: its values, and what is known about them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from attrib_core.attribution.settings import TARGETS, AttributionSettings, Target
from attrib_core.attribution.subject import Explained, Subject
from attrib_core.prepared import PreparedModel


def _no_settings(_settings: AttributionSettings) -> str:
    return ""


@dataclass(frozen=True)
class Method:
    """A way to attribute: its values `[B, C, H, W]`, and whose gradient at the image they need, if any.

    `describe` returns in words which settings, besides the seed, shape the values, or which code of others
    computes them; it is empty if neither does. Values that are not `is_signed` show how much a pixel matters, and
    not in which direction. `settings` are the fields of `AttributionSettings` that a reference may give, `changes`
    those that this one gives; `given` are all settings of a reference, typed. `check`, if there is one, looks at a
    model before work starts and returns notes for the user; it raises ValueError for a model that the method
    cannot explain.
    """

    values: Callable[[Subject], Tensor]
    gradient_of: Explained | None = None
    describe: Callable[[AttributionSettings], str] = _no_settings
    is_signed: bool = True
    of_inputs: bool = True
    draws_by_batch: bool = False  # its random numbers follow from a batch's first key, not each image's
    is_given: bool = False  # its values were computed elsewhere, at these images alone
    settings: tuple[str, ...] = ()
    completeness_gap: Callable[[Subject], Tensor] | None = None  # [B], where the sum of values is promised
    targets: tuple[Target, ...] = TARGETS
    check: Callable[[PreparedModel], tuple[str, ...]] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_maps(cls, maps: Tensor, *, explains_loss: bool, of_inputs: bool) -> "Method":
        """Return the method whose values `[B, C, H, W]` are there already, for the images of one batch."""
        return cls(
            values=lambda _subject: maps,
            targets=("loss",) if explains_loss else TARGETS,
            of_inputs=of_inputs,
            is_given=True,
        )

    @property
    def explains_loss(self) -> bool:
        """True if it explains the label's loss, whatever the target is."""
        return self.gradient_of == "loss"

    def settings_of(self, settings: AttributionSettings) -> AttributionSettings:
        """Return the settings under which it runs. Raises ValueError where its own do not fit the others."""
        return replace(settings, **self.changes)

    def with_changes(self, changes: Mapping[str, Any]) -> "Method":
        """Return the method under some settings of its own, whatever those of the subject are."""
        gap = self.completeness_gap
        return replace(
            self,
            values=lambda subject: self.values(subject.with_settings(changes)),
            describe=lambda settings: self.describe(replace(settings, **changes)),
            completeness_gap=None if gap is None else lambda subject: gap(subject.with_settings(changes)),
            changes=changes,
            given=changes,
        )
