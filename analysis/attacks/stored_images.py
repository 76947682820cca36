"""Which rows of an attack's run have stored images, and which of them a figure or a report shows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import load
from analysis.attacks.points import AttackPoint, point_numbers
from analysis.attacks.rows import ALONE, attack_names, attack_stem, initially_correct, is_minimum
from analysis.attacks.rows import COLUMNS as ROW_COLUMNS
from analysis.attacks.success_rates import successes
from analysis.drawing.pages import select
from analysis.html.choices import spread
from analysis.naming import format_epsilon
from analysis.result_files import concat_rows
from analysis.run import AnyRun
from sweeps.schemas import IMAGE_COLUMNS

Images = Mapping[str, NDArray[np.uint8]]

# Images of each attack that a report shows.
NUM_TRIPTYCHS = 8

COLUMNS = (
    *ROW_COLUMNS,
    "key",
    "clean_confidence",
    "adversarial_confidence",
    *(f"{column}_{part}" for column in IMAGE_COLUMNS for part in ("file", "key")),
)


class Group(NamedTuple):
    """The rows of a checkpoint, attack and ε, with the words for ε and the part of a file name."""

    checkpoint: str
    attack: str
    at: str
    stem: str
    rows: pd.DataFrame


def load_images(run: AnyRun, rows: pd.DataFrame) -> Images:
    """Return the images that the rows name, by key."""
    return load.stored_images(run, rows, [f"{column}_key" for column in IMAGE_COLUMNS])


def choose(
    frame: pd.DataFrame,
    *,
    methods: Sequence[str] | None = None,
    epsilons: Sequence[float] | None = None,
    num_images: int | None = None,
) -> pd.DataFrame:
    """Return the rows with a stored adversarial image; without those at ε = 0, unless asked for.

    `num_images` are the first of each checkpoint, attack and ε. `alone_prediction` and `alone_confidence` say
    what ε · sign(g) by itself is taken for, if the sweep asked: its `gradient_alone` beside `fgsm`. Raises
    ValueError for a method or an ε that no such row has, and if no row has an image.
    """
    if num_images is not None and num_images < 1:
        raise ValueError(f"num_images is {num_images}: give 1 or more")
    rows = frame[frame["image_key"].notna()].sort_values("image_index", kind="stable")
    if rows.empty:
        raise ValueError("image_key is null in every row: the sweep stored no images; see its --save-images")
    rows = rows if methods is None else select(rows, "method", methods)
    rows = rows[rows["epsilon"] != 0] if epsilons is None else select(rows, "epsilon", epsilons)
    chosen = pd.concat([group.rows.iloc[:num_images] for group in groups(rows)])
    return _with_alone(chosen, frame)


def groups(rows: pd.DataFrame) -> Iterator[Group]:
    """Yield the rows by checkpoint, attack and ε; minimum methods have an ε for each image."""
    rows = rows.assign(attack_=attack_names(rows), at_=rows["epsilon"].mask(is_minimum(rows)))
    by = ["checkpoint", "attack_", "at_"]
    for (checkpoint, attack, epsilon), group in rows.groupby(by, observed=True, dropna=False):
        at = "minimum ε" if pd.isna(epsilon) else f"ε = {format_epsilon(epsilon)}"
        written = "minimum" if pd.isna(epsilon) else format_epsilon(epsilon)
        stem = f"{attack_stem(checkpoint, attack)}-{written.replace('/', '-').replace('.', '_')}"
        yield Group(str(checkpoint), str(attack), at, stem, group)


def _with_alone(rows: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the prediction and confidence of the perturbation by itself, null if unknown."""
    on = ["checkpoint", "target", "image_index", "epsilon"]
    verdict = {"adversarial_prediction": "alone_prediction", "adversarial_confidence": "alone_confidence"}
    alone = frame.loc[frame["method"] == ALONE, [*on, *verdict]].rename(columns=verdict)
    # The perturbation of another attack is another one.
    return rows.merge(alone.assign(method="fgsm"), on=[*on, "method"], how="left")


class Examples:
    """For each point some rows with stored images, misled and not, spread over the classes evenly.

    They are of images that were right to begin with, if there are any: the others needed no change. They are
    sorted by image index, as `choose` sorts.
    """

    def __init__(self, points: Sequence[AttackPoint]) -> None:
        self._points = points
        self._rows: list[pd.DataFrame] = []

    def add(self, rows: pd.DataFrame) -> None:
        """Take in some rows, and forget those that cannot be chosen any more."""
        stored = rows[rows["image_key"].notna() & rows["clean_key"].notna()]
        self._rows = [_first_of_each(concat_rows([*self._rows, _candidates(stored, self._points)]))]

    def chosen(self) -> list[pd.DataFrame]:
        """Return the rows of each point; the report does not say what a perturbation alone is taken for."""
        rows = self._rows[0].assign(alone_prediction=np.nan, alone_confidence=np.nan)
        return [_examples(rows[rows["point"] == number], point) for number, point in enumerate(self._points)]


def _candidates(rows: pd.DataFrame, points: Sequence[AttackPoint]) -> pd.DataFrame:
    hit = successes(rows.assign(target=rows["target"].astype("Int32")))
    rows = rows.assign(point=point_numbers(rows, points), hit=hit, right=initially_correct(rows))
    # An image whose label is the target counts neither as misled nor as not misled.
    rows = rows[(rows["point"] >= 0) & rows["hit"].notna()]
    return rows.assign(hit=rows["hit"].astype(bool))


def _first_of_each(rows: pd.DataFrame) -> pd.DataFrame:
    """Return as many rows of each kind as might be chosen."""
    ordered = rows.sort_values("image_index", kind="stable")
    return ordered.groupby(["point", "label", "hit", "right"], observed=True).head(NUM_TRIPTYCHS)


def _examples(rows: pd.DataFrame, point: AttackPoint) -> pd.DataFrame:
    rows = rows[rows["right"]] if rows["right"].any() else rows
    # If no minimum was found, the image is that at ε = 1, of which nothing is left.
    rows = rows[rows["hit"]] if point.epsilon is None and rows["hit"].any() else rows
    return spread(rows, rows["hit"], "label", NUM_TRIPTYCHS).sort_values("image_index", kind="stable")
