"""A claim of the original document: what it says, how it is measured here, and when it counts as reproduced."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from analysis.claims.evidence import Evidence

# What a measurement says of a claim, and what all those of a run say together.
AGREES, DISAGREES, UNDECIDED = "agrees", "disagrees", "undecided"
REPRODUCED, PARTLY = "reproduced", "partly"
NOT_REPRODUCED, NOT_MEASURED = "not reproduced", "not measured"
VERDICTS = (REPRODUCED, PARTLY, NOT_REPRODUCED, UNDECIDED, NOT_MEASURED)

# The least number above 0: an interval that is [0, 0] shows no difference.
_ABOVE_ZERO = math.nextafter(0, 1)

Form = Literal["share", "number", "count"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A value with its 95 % interval over `count` cases; `subject` says of what, where a run has several."""

    value: float
    low: float
    high: float
    count: int
    subject: str = ""


@dataclass(frozen=True)
class Claimed:
    """The values from `low` to `high` that agree with a claim, and why these: how words became numbers."""

    low: float
    high: float
    because: str = ""

    def finding(self, measured: Measurement) -> str:
        """Return whether the whole interval agrees, none of it does, or it is undecided."""
        if math.isnan(measured.low) or math.isnan(measured.high):
            return UNDECIDED
        if self.low <= measured.low and measured.high <= self.high:
            return AGREES
        if measured.high < self.low or self.high < measured.low:
            return DISAGREES
        return UNDECIDED

    def describe(self, form: Form) -> str:
        """Return the rule in words."""
        low, high = written(self.low, form), written(self.high, form)
        if self.low == _ABOVE_ZERO:
            range_ = "above 0" if math.isinf(self.high) else f"above 0 and up to {high}"
        elif math.isinf(self.high) or (form == "share" and self.high == 1):
            range_ = f"at least {low}"
        elif math.isinf(self.low) or (form == "share" and self.low == 0):
            range_ = f"at most {high}"
        else:
            range_ = f"{low} to {high}"
        return f"{range_} ({self.because})" if self.because else range_


def verdict(findings: Collection[str]) -> str:
    """Return what the findings of a run say together, about a claim that was measured in several ways.

    Reproduced where all agree, partly where only some do; not reproduced where none agrees and some disagree.
    """
    if not findings:
        return NOT_MEASURED
    if AGREES in findings:
        return REPRODUCED if set(findings) == {AGREES} else PARTLY
    return NOT_REPRODUCED if DISAGREES in findings else UNDECIDED


def above_zero(because: str = "") -> Claimed:
    """Return the range of all differences in the direction that the original states."""
    return Claimed(_ABOVE_ZERO, math.inf, because)


def about(value: float, tolerance: float, because: str = "") -> Claimed:
    """Return a range around a number of the original, which left the tolerance unsaid."""
    return Claimed(value - tolerance, value + tolerance, because)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the original measured on: in words, and the names that its network and images have here."""

    description: str
    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A number or a statement of the original, in our own words.

    `original` is its value as a number, if it gives one; `says` is what it says, in few words. `measure` gives the
    measurements of a run of the sweep `kind`, none where the run lacks the rows. `needs` says what rows these are,
    `command` makes them. A claim that is `bound` to its setting is about one network on one data set: no other can
    stand in. `differs` adds to what differs in any case.
    """

    id: str
    section: str
    statement: str
    says: str
    original: float | None = None
    kind: str
    setting: Setting
    needs: str
    command: str
    measure: Callable[[Evidence], list[Measurement]]
    claimed: Claimed
    form: Form = "share"
    bound: bool = False
    differs: str = ""

    def applies(self, evidence: Evidence) -> bool:
        """Return whether a run may bear on this claim."""
        if evidence.kind != self.kind:
            return False
        return not self.bound or evidence.is_of(self.setting.models, self.setting.datasets)


def written(value: float, form: Form) -> str:
    """Format a value: `74.0 %`, `0.525`, `179,728`."""
    if math.isnan(value):
        return "?"
    if form == "share":
        return f"{value:.1%}".replace("%", " %")
    return f"{value:,.0f}" if form == "count" else f"{value:.3g}"
