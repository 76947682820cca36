"""Two things that are compared, and which of their attacks and images belong together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.attacks.norms import Norms
from analysis.attacks.outcomes import FAILED, SUCCEEDED, Attack, ImageOutcomes, Images
from analysis.attacks.rows import ALONE
from analysis.attacks.success_rates import DENOMINATORS
from analysis.attacks.worst_case import ANY
from analysis.run import Run

# What a targeted attack's name ends with.
TARGETED = ", targeted"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two things compared: the attacks of a run, or those of one method or checkpoint of it."""

    name: str
    outcomes: ImageOutcomes
    method: str | None = None
    checkpoint: str | None = None

    def attacks(self) -> list[Attack]:
        """Return the attacks of this side."""
        return [
            each
            for each in self.outcomes.attacks
            if self.method in (None, each.method) and self.checkpoint in (None, each.images.checkpoint)
        ]


class _Key(NamedTuple):
    """What two attacks must agree in to be compared; None in what tells the sides apart."""

    checkpoint: str | None
    dataset: str
    split: str
    method: str | None
    target: int | None
    epsilon: float | None


class PairedRow(NamedTuple):
    """What a row of the table is of."""

    checkpoint: str
    attack: str
    epsilon: float | None
    norm: str


class Pair(NamedTuple):
    """What is compared in a row: one attack of each side, or several that are taken together."""

    row: PairedRow
    ones: Sequence[Attack]
    others: Sequence[Attack]


def pairs(first: Side, second: Side) -> Iterator[Pair]:
    """Yield each attack that both sides have, and the worst case of those of one norm, with its name `ANY`.

    Several pairs of one row are of different targets.
    """
    norms = first.outcomes.norms.joined(second.outcomes.norms)
    singles = [
        Pair(_row_of(one, other, norms), [one], [other]) for one, other in _shared_attacks(first, second)
    ]
    yield from singles
    # Two methods that are held against each other have none in common.
    if first.method is None:
        yield from _worst_cases(singles)


def _shared_attacks(first: Side, second: Side) -> Iterator[tuple[Attack, Attack]]:
    """Yield the attacks that both sides have; at an ε, a method that seeks the minimum has each."""
    ones, others = _by_key(first, second), _by_key(second, first)
    for key in dict.fromkeys((*ones, *others)):
        one, other = _found(ones, key), _found(others, key)
        if one is not None and other is not None:
            yield one, other


@dataclass(frozen=True)
class _Shared:
    """What both sides have of one norm: methods with their ε, and what they attack, with its target."""

    asked: dict[tuple[str, float | None], None] = field(default_factory=dict)
    images: dict[tuple[Images, Images, int | None], None] = field(default_factory=dict)

    def by_epsilon(self) -> Iterator[tuple[float, list[str]]]:
        """Yield each ε with the methods that have it; one that seeks the minimum has each."""
        for epsilon in sorted({epsilon for _, epsilon in self.asked if epsilon is not None}):
            yield epsilon, list({method: None for method, each in self.asked if each in (epsilon, None)})


def _worst_cases(singles: Iterable[Pair]) -> Iterator[Pair]:
    """Yield, at each ε of a norm, all methods that both sides have there, if there are at least two."""
    groups: dict[PairedRow, _Shared] = {}
    for row, (one,), (other,) in singles:
        # Images that hide the clean ones are within ε of nothing.
        if row.norm and one.method.split(":")[0] != ALONE:
            name = ANY if one.target is None else ANY + TARGETED
            group = groups.setdefault(row._replace(attack=name, epsilon=None), _Shared())
            group.asked[one.method, row.epsilon] = None
            group.images[one.images, other.images, one.target] = None
    for row, group in groups.items():
        for epsilon, methods in group.by_epsilon():
            if len(methods) > 1:
                for one_images, other_images, target in group.images:
                    yield Pair(
                        row._replace(epsilon=epsilon),
                        [Attack(one_images, method, target, epsilon) for method in methods],
                        [Attack(other_images, method, target, epsilon) for method in methods],
                    )


def _found(attacks: Mapping[_Key, Attack], key: _Key) -> Attack | None:
    found = attacks.get(key) or attacks.get(key._replace(epsilon=None))
    return None if found is None else found._replace(epsilon=key.epsilon)


def _by_key(side: Side, other: Side) -> dict[_Key, Attack]:
    """Return the attacks of a side by what they have in common with those of the other."""
    # Runs of one checkpoint each are compared whatever those are called.
    alone = all(
        len({each.images.checkpoint for each in each_side.attacks()}) == 1 for each_side in (side, other)
    )
    return {
        _Key(
            checkpoint=None if alone else each.images.checkpoint,
            dataset=each.images.dataset,
            split=each.images.split,
            method=each.method if side.method is None else None,
            target=each.target,
            epsilon=each.epsilon,
        ): each
        for each in side.attacks()
    }


def common_places(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the images of both sides stand on each."""
    _, one, other = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    return one, other


def _row_of(one: Attack, other: Attack, norms: Norms) -> PairedRow:
    same_place = one.images.checkpoint == other.images.checkpoint
    name = one.method if one.method == other.method else f"{one.method} and {other.method}"
    return PairedRow(
        checkpoint=one.images.checkpoint
        if same_place
        else f"{one.images.checkpoint} and {other.images.checkpoint}",
        attack=name if one.target is None else name + TARGETED,
        epsilon=one.epsilon,
        norm=norms.of(one.method) or norms.of(other.method) or "",
    )


def numbers_of(
    first: Side, second: Side, pair: Pair, places: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> dict[str, NDArray[np.int64]]:
    """Return by denominator how many images both mislead, each alone, and none.

    Of attacks taken together, it is enough that one misleads; an image counts if both sides have it of each.
    """
    sides = ((first.outcomes, pair.ones, places[0]), (second.outcomes, pair.others, places[1]))
    counted, right, hits = np.True_, np.True_, []
    for outcomes, attacks, place in sides:
        codes = np.stack([outcomes.outcomes(each)[place] for each in attacks])
        counted = counted & ((codes == SUCCEEDED) | (codes == FAILED)).all(0)
        right = right & outcomes.right(attacks[0].images)[place]
        hits.append((codes == SUCCEEDED).any(0))
    cells = np.stack([hits[0] & hits[1], hits[0] & ~hits[1], ~hits[0] & hits[1], ~hits[0] & ~hits[1]])
    chosen = {"all": counted, "initially_correct": counted & right}
    return {denominator: (cells & chosen[denominator]).sum(1) for denominator in DENOMINATORS}


def run_names(first: Run, second: Run) -> tuple[str, str]:
    """Return what the runs are called: the last part of their paths, or the whole paths if those are the same."""
    return (first.url, second.url) if first.name == second.name else (first.name, second.name)


def refuse_other_images(first: Run, second: Run) -> None:
    """Raise ValueError for runs whose data sets hold other bytes, though they may have one name."""
    for name in ("dataset", "split", "data_digest"):
        one, other = (run.settings.get(name) for run in (first, second))
        if one != other:
            raise ValueError(
                f"{name} of {first} is {one!r}, of {second} {other!r}: give runs on the same images"
            )


def comparable(first: Run, second: Run) -> bool:
    """Return whether two runs attack the same images by a method that both have."""
    if first.kind != "attack" or second.kind != "attack":
        return False
    same = all(
        first.settings.get(name) == second.settings.get(name) for name in ("dataset", "split", "data_digest")
    )
    return same and "dataset" in first.settings
