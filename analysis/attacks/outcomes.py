"""What became of each image under each attack, in one byte a row: what tables over several attacks are made of.

A worst case, a comparison or a curve of minima needs all attacks on an image side by side, but the rows of an
image lie far apart in a run. They are read once, some at a time, and a byte of each is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attacks.norms import NORMS, Norms
from analysis.attacks.rows import COLUMNS, Subject, initially_correct, is_minimum, row_portions
from analysis.attacks.success_rates import successes
from analysis.html.choices import asked_for, in_order
from analysis.run import AnyRun, opened

# What the columns of `ImageOutcomes.attacks` hold.
NOT_ATTACKED, FAILED, SUCCEEDED, IS_TARGET = range(4)
# What those of `ImageOutcomes.right` hold.
UNKNOWN, WRONG, RIGHT = range(3)

NEEDED = (*COLUMNS, *NORMS)

_SUBJECT = ["model", "checkpoint", "dataset", "split"]


class Images(NamedTuple):
    """Which images, seen by which model."""

    model: str
    checkpoint: str
    dataset: str
    split: str


class Attack(NamedTuple):
    """An attack on images at one ε; `epsilon` is None for a method that seeks the minimum."""

    images: Images
    method: str
    target: int | None
    epsilon: float | None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The images of one `Images` under the attacks that share a target: a row per method, a column per image.

    `outcomes` `[M, N]` are codes such as `SUCCEEDED`, `right` `[N]` says whether the clean prediction is the
    label, `image_index` `[N]` which image of the data set a column is of.
    """

    images: Images
    target: int | None
    methods: Sequence[str]
    outcomes: NDArray[np.int8]
    right: NDArray[np.bool_]
    image_index: NDArray[np.int64]


class ImageOutcomes:
    """Success of every attack on every image of a run, image by image.

    Takes about a byte for each row, and eight for that of a minimum. `rounded`: predictions after rounding to 8
    bits.
    """

    def __init__(self, *, rounded: bool = False) -> None:
        self.norms = Norms()
        self._subject = Subject()
        self._rounded = rounded
        self._image_index = pd.Index([], dtype=np.int64)
        self._attacks: dict[Attack, NDArray[np.int8]] = {}
        self._minima: dict[Attack, NDArray[np.float64]] = {}
        self._right: dict[Images, NDArray[np.int8]] = {}

    def add(self, rows: pd.DataFrame) -> None:
        """Take in some rows, with the columns `NEEDED`."""
        self.norms.add(rows)
        self._subject.add(rows)
        places, right = self._places(rows["image_index"]), initially_correct(rows).to_numpy()
        codes, minima, seeks = self._codes(rows), _minima(rows), is_minimum(rows)
        for images, chosen in _groups(rows[_SUBJECT]):
            held = self._column(self._right, Images(*map(str, images)), UNKNOWN, np.int8)
            held[places[chosen]] = np.where(right[chosen], RIGHT, WRONG)
        keys = rows[[*_SUBJECT, "method", "target"]].assign(epsilon=rows["epsilon"].astype(float).mask(seeks))
        for (*images, method, target, epsilon), chosen in _groups(keys):
            attack = Attack(
                Images(*map(str, images)), str(method), _optional(target, int), _optional(epsilon, float)
            )
            self._column(self._attacks, attack, NOT_ATTACKED, np.int8)[places[chosen]] = codes[chosen]
            if attack.epsilon is None:
                self._column(self._minima, attack, np.nan, np.float64)[places[chosen]] = minima[chosen]

    def describe(self) -> str:
        """Return model and images in words."""
        return self._subject.describe()

    @property
    def attacks(self) -> list[Attack]:
        """The attacks, those that seek a minimum included."""
        return list(self._attacks)

    @property
    def images(self) -> list[Images]:
        """The models with their images."""
        return list(self._right)

    def num_images(self, images: Images) -> int:
        """Return how many images have a row."""
        return int((self._right[images] != UNKNOWN).sum())

    def right(self, images: Images) -> NDArray[np.bool_]:
        """Return `[I]` which images were right to begin with."""
        return self._padded(self._right[images], UNKNOWN) == RIGHT

    def seen(self, images: Images) -> NDArray[np.bool_]:
        """Return `[I]` which images have a row."""
        return self._padded(self._right[images], UNKNOWN) != UNKNOWN

    @property
    def image_index(self) -> NDArray[np.int64]:
        """`[I]`: the image of the data set that each place of the arrays is of."""
        return self._image_index.to_numpy()

    def outcomes(self, attack: Attack) -> NDArray[np.int8]:
        """Return the codes `[I]` of an attack; of a minimum at an ε: whether ε is enough."""
        if attack in self._attacks:
            return self._padded(self._attacks[attack], NOT_ATTACKED)
        minimum = attack._replace(epsilon=None)
        if minimum not in self._attacks or attack.epsilon is None:
            return np.full(len(self._image_index), NOT_ATTACKED, np.int8)
        codes = self._padded(self._attacks[minimum], NOT_ATTACKED)
        enough = self.minima(minimum) <= attack.epsilon
        counted = (codes == FAILED) | (codes == SUCCEEDED)
        return np.where(counted, np.where(enough, SUCCEEDED, FAILED), codes).astype(np.int8)

    def minima(self, attack: Attack) -> NDArray[np.float64]:
        """Return the minimum ε `[I]`: infinite where none was found, NaN where none was sought."""
        return self._padded(self._minima[attack], np.nan)

    def panels(
        self, epsilon: float | None, methods: Sequence[str], checkpoint: str, *, targeted: bool
    ) -> Iterator[Panel]:
        """Yield the outcomes of these methods on a checkpoint at an ε, for each set of images and each target."""
        asked = [
            each for each in self._attacks if each.images.checkpoint == checkpoint and each.method in methods
        ]
        for images, target in dict.fromkeys((each.images, each.target) for each in asked):
            if (target is not None) != targeted:
                continue
            rows = [self.outcomes(Attack(images, method, target, epsilon)) for method in methods]
            seen = self.seen(images)
            yield Panel(
                images=images,
                target=target,
                methods=methods,
                outcomes=np.stack(rows)[:, seen],
                right=self.right(images)[seen],
                image_index=self.image_index[seen],
            )

    def _places(self, image_index: pd.Series) -> NDArray[np.int64]:
        new = pd.Index(image_index.unique()).difference(self._image_index)
        self._image_index = self._image_index.append(new)
        return self._image_index.get_indexer(pd.Index(image_index))

    def _codes(self, rows: pd.DataFrame) -> NDArray[np.int8]:
        succeeded = successes(rows.assign(target=rows["target"].astype("Int32")), rounded=self._rounded)
        hit = succeeded.fillna(False).to_numpy(bool)
        codes = np.where(succeeded.isna().to_numpy(), IS_TARGET, np.where(hit, SUCCEEDED, FAILED))
        return codes.astype(np.int8)

    def _column(self, columns: dict[Any, NDArray[Any]], key: Any, empty: float, kind: type) -> NDArray[Any]:
        """Return the array of a key, long enough for all images so far."""
        held = columns.get(key, np.empty(0, kind))
        if len(held) < len(self._image_index):
            held = columns[key] = self._padded(held, empty)
        return held

    def _padded(self, held: NDArray[Any], empty: float) -> NDArray[Any]:
        return np.pad(held, (0, len(self._image_index) - len(held)), constant_values=empty)


def read_outcomes(run: AnyRun, *, rounded: bool = False) -> ImageOutcomes:
    """Read the outcomes of an attack's run. Raises ValueError for another sweep's."""
    return outcomes_of(row_portions(run, NEEDED), rounded=rounded)


def outcomes_of(portions: Iterable[pd.DataFrame], *, rounded: bool = False) -> ImageOutcomes:
    """Return the outcomes of rows that come portion by portion."""
    outcomes = ImageOutcomes(rounded=rounded)
    for portion in portions:
        outcomes.add(portion)
    return outcomes


def methods_in_order(outcomes: ImageOutcomes, run: AnyRun) -> list[str]:
    """Return the methods that have rows, in the order in which the sweep names them; others last, sorted."""
    return in_order({each.method for each in outcomes.attacks}, asked_for(opened(run), "method"))


def checkpoints_in_order(outcomes: ImageOutcomes, run: AnyRun) -> list[str]:
    """Return the checkpoints that have rows, likewise."""
    return in_order(
        {each.images.checkpoint for each in outcomes.attacks}, asked_for(opened(run), "checkpoint")
    )


def _minima(rows: pd.DataFrame) -> NDArray[np.float64]:
    return rows["epsilon"].astype(float).fillna(np.inf).to_numpy()


def _groups(keys: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], NDArray[np.int64]]]:
    """Yield each combination of values with the places of its rows; a missing value is a value of its own."""
    numbers = keys.groupby(list(keys), observed=True, dropna=False, sort=False).ngroup().to_numpy()
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    for chosen in np.split(order, starts[1:]):
        yield tuple(keys.iloc[chosen[0]]), chosen


def _optional(value: Any, kind: Callable[[Any], Any]) -> Any:
    return None if pd.isna(value) else kind(value)
