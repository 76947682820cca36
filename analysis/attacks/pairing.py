"""Two things that are compared, and which of their attacks and images belong together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.attacks.outcomes import FAILED, SUCCEEDED, Attack, ImageOutcomes
from analysis.attacks.success_rates import DENOMINATORS
from analysis.run import Run


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


def shared_attacks(first: Side, second: Side) -> Iterator[tuple[Attack, Attack]]:
    """Yield the attacks that both sides have; at an ε, a method that seeks the minimum has each."""
    ones, others = _by_key(first, second), _by_key(second, first)
    for key in dict.fromkeys((*ones, *others)):
        one, other = _found(ones, key), _found(others, key)
        if one is not None and other is not None:
            yield one, other


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


def row_of(first: Side, one: Attack, second: Side, other: Attack) -> PairedRow:
    same_place = one.images.checkpoint == other.images.checkpoint
    name = one.method if one.method == other.method else f"{one.method} and {other.method}"
    return PairedRow(
        checkpoint=one.images.checkpoint
        if same_place
        else f"{one.images.checkpoint} and {other.images.checkpoint}",
        attack=name if one.target is None else f"{name}, targeted",
        epsilon=one.epsilon,
        norm=first.outcomes.norms.of(one.method) or second.outcomes.norms.of(other.method) or "",
    )


def numbers_of(
    first: ImageOutcomes,
    one: Attack,
    second: ImageOutcomes,
    other: Attack,
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> dict[str, NDArray[np.int64]]:
    """Return by denominator how many images both mislead, each alone, and none."""
    codes = first.outcomes(one)[places[0]], second.outcomes(other)[places[1]]
    counted = np.logical_and(*((code == SUCCEEDED) | (code == FAILED) for code in codes))
    right = first.right(one.images)[places[0]] & second.right(other.images)[places[1]]
    hits = [code == SUCCEEDED for code in codes]
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
