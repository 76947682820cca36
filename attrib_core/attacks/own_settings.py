"""Settings that a reference brings, `pgd:num_steps=40`: they win over those of the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from attrib_core.attacks.batch import AttackBatch, AttackSettings, Attempt, Method
from attrib_core.prepared import PreparedModel
from attrib_core.references import Reference, typed_fields


@dataclass(frozen=True)
class WithSettings(Method):
    """A method of our own, under settings of its own."""

    method: Method
    given: Mapping[str, Any] = field()  # without the default of any method

    def __post_init__(self) -> None:
        # What is asked of any method is asked of this one.
        for name in ("seeks_minimum", "images_leave", "norm", "takes_targets"):
            object.__setattr__(self, name, getattr(self.method, name))

    def describe(self, settings: AttackSettings) -> str:
        return self.method.describe(self._of(settings))

    def check_settings(self, settings: AttackSettings, image_shape: Sequence[int]) -> None:
        self.method.check_settings(self._of(settings), image_shape)

    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        return self.method.attempt(model, batch, epsilons, self._of(settings))

    def _of(self, settings: AttackSettings) -> AttackSettings:
        return replace(settings, **self.given)


def with_settings(method: Method, field: str, reference: Reference) -> Method:
    """Return the method under the settings of its reference; ValueError for one that it does not have."""
    given = typed_fields(field, reference, AttackSettings, method.own_settings)
    return WithSettings(method, given) if given else method
