"""Which attacks a run was asked for and which of them can be taken together: those of one norm, at one ε."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from analysis.attacks.norms import NAMES, ORDER
from analysis.attacks.outcomes import ImageOutcomes, checkpoints_in_order, methods_in_order
from analysis.attacks.rows import ALONE
from analysis.html.choices import asked_for, in_order
from analysis.run import AnyRun, Run, opened

# How sweep.json writes that no class is aimed at, and that ε is sought.
_UNTARGETED, _MINIMUM = "untargeted", "minimum"

# Checkpoint, method, whether a class is aimed at, and ε; None for one that is sought.
Asked = tuple[str, str, bool, float | None]


@dataclass(frozen=True, kw_only=True)
class Ball:
    """All attacks within ε of a norm on a checkpoint; `methods` stand in the order of the sweep."""

    checkpoint: str
    norm: str
    targeted: bool
    epsilon: float
    methods: tuple[str, ...]

    @property
    def aim(self) -> str:
        """Return `targeted` or `untargeted`."""
        return "targeted" if self.targeted else "untargeted"


def balls(outcomes: ImageOutcomes, run: AnyRun) -> list[Ball]:
    """Return the balls of the run's attacks at given ε, by checkpoint, norm and ε.

    A method that seeks the minimum belongs to each ball of its norm: it succeeds where its minimum is at most ε.
    """
    asked = _asked(outcomes, opened(run))
    methods = methods_in_order(outcomes, run)
    found = []
    for checkpoint, norm, targeted in product(checkpoints_in_order(outcomes, run), ORDER, (False, True)):
        attacks = {
            (method, epsilon)
            for at, method, aimed, epsilon in asked
            if at == checkpoint and aimed == targeted and norm_of(outcomes, method) == norm
        }
        for epsilon in sorted({epsilon for _, epsilon in attacks if epsilon is not None}):
            at_it = {method for method, each in attacks if each in (epsilon, None)}
            chosen = tuple(in_order(at_it, methods))
            found.append(
                Ball(checkpoint=checkpoint, norm=norm, targeted=targeted, epsilon=epsilon, methods=chosen)
            )
    return found


def norm_of(outcomes: ImageOutcomes, method: str) -> str | None:
    """Return the norm of a method's ε; None if it is unknown or if the method's images hide the clean ones."""
    return None if method.split(":")[0] == ALONE else outcomes.norms.of(method)


def without_rows(outcomes: ImageOutcomes, run: AnyRun) -> list[str]:
    """Return the methods that the run was asked for and of which no row is there yet."""
    present = {each.method for each in outcomes.attacks}
    return [method for method in asked_for(opened(run), "method") if method not in present]


def without_norm(outcomes: ImageOutcomes, run: AnyRun) -> list[str]:
    """Return the methods that have rows and stay within ε of no norm."""
    return [method for method in methods_in_order(outcomes, run) if norm_of(outcomes, method) is None]


def lacking_notes(outcomes: ImageOutcomes, run: AnyRun) -> list[str]:
    """Return in sentences which methods are in no ball."""
    notes = []
    if absent := without_rows(outcomes, run):
        notes.append(f"Without any row yet, and so left out: {', '.join(absent)}.")
    if outside := without_norm(outcomes, run):
        within = ", ".join(NAMES[norm] for norm in ORDER)
        notes.append(f"Left out, because its change is not within ε in {within}: {', '.join(outside)}.")
    return notes


def _asked(outcomes: ImageOutcomes, run: Run) -> set[Asked]:
    rows = {(a.images.checkpoint, a.method, a.target is not None, a.epsilon) for a in outcomes.attacks}
    present = {method for _, method, _, _ in rows}
    blocks = [asked for block in run.sweep.get("blocks", []) for asked in _asked_in(block["axes"])]
    # Of a method without rows, the norm is not known.
    return rows | {asked for asked in blocks if asked[1] in present}


def _asked_in(axes: dict[str, Any]) -> Iterator[Asked]:
    targets = axes.get("target", [_UNTARGETED])
    aims = {True} if isinstance(targets, str) else {target != _UNTARGETED for target in targets}
    epsilons = [None if each == _MINIMUM else float(each) for each in axes.get("epsilon", [])]
    checkpoints, methods = map(str, axes.get("checkpoint", [])), map(str, axes.get("method", []))
    yield from product(checkpoints, methods, aims, epsilons)
