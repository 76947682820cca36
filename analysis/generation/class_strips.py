"""From rows and images to strips: one class each, its seeds or recipes side by side."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import load
from analysis.drawing.image_grid import Cell, Strip
from analysis.generation.judge_accuracy import judges, verdicts

T = TypeVar("T")

Images = Mapping[str, NDArray[np.uint8]]

_COLUMNS = ("model", "class_index", "class_name", "seed", "recipe", "image_file", "image_key")


@dataclass(frozen=True, kw_only=True)
class Look:
    """How images are shown: the judge whose verdict marks them, None for no marks, and the contrast stretch.

    `stretch` is the share of an image's values that is clipped at each end, in [0, 0.5), None for the image
    as it is stored.
    """

    judge: str | None = None
    stretch: float | None = None

    def __post_init__(self) -> None:
        if self.stretch is not None and not 0 <= self.stretch < 0.5:
            raise ValueError(f"stretch is {self.stretch}: give a share from 0 up to, not including, 0.5")

    def notes(self) -> list[str]:
        """What a reader of the page has to know about its look."""
        notes = []
        if self.judge is not None:
            notes.append(f"\N{CHECK MARK} {self.judge} names the class first, \N{BALLOT X} it names another")
        if self.stretch is not None:
            notes.append(
                f"contrast stretched image by image: {self.stretch:.1%} of its values clipped at each end"
            )
        return notes


def load_rows(run: str | Path) -> pd.DataFrame:
    """What pages of images need of the results; the lists per step, most of a row's bytes, stay unread."""
    verdict_columns = [column for column in load.column_names(run) if column.startswith("judge_top1.")]
    return load.results(run, [*_COLUMNS, *verdict_columns])


def load_images(run: str | Path, rows: pd.DataFrame) -> Images:
    """The images of the rows by `image_key`."""
    stored = rows[rows["image_key"].notna()]
    keys = [str(key) for key in stored["image_key"]]
    return dict(zip(keys, load.images(run, keys, rows=stored), strict=True))


def select(rows: pd.DataFrame, column: str, values: Sequence[Hashable]) -> pd.DataFrame:
    """The rows with one of `values` in `column`. Raises ValueError for a value that no row has."""
    known = sorted(rows[column].unique())
    for value in values:
        if value not in known:
            raise ValueError(f"{column} is {value!r}: choose from {', '.join(map(str, known))}")
    return rows[rows[column].isin(values)]


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The values in order, `size` at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))


def choose_judge(frame: pd.DataFrame, judge: str | None) -> str | None:
    """`judge`, or the first of the frame's judges if it is None. Raises ValueError for one it lacks."""
    known = judges(frame)
    if judge is not None and judge not in known:
        raise ValueError(
            f"judge is {judge!r}: choose from {', '.join(known) or 'none, as the run had no judges'}"
        )
    return judge or (known[0] if known else None)


def class_strips(
    rows: pd.DataFrame, images: Images, column: str, values: Sequence[Hashable], look: Look
) -> list[Strip]:
    """One strip per class of `rows`, by class index, with a cell for each of `values` of `column`.

    A cell without a row, or whose row has no entry in `images`, says so in its place.
    """
    right = None if look.judge is None else verdicts(rows, look.judge)
    cells: dict[tuple[int, Hashable], Cell] = {}
    for position, row in enumerate(rows[["class_index", column, "image_key"]].itertuples(index=False)):
        image = images.get(row[2]) if isinstance(row[2], str) else None
        verdict = None if right is None or pd.isna(right.iloc[position]) else bool(right.iloc[position])
        shown = image if image is None or look.stretch is None else stretch_contrast(image, look.stretch)
        cells[int(row[0]), row[1]] = Cell(image=shown, correct=verdict)
    names = rows.drop_duplicates("class_index").sort_values("class_index")
    return [
        Strip(title=f"{index} {name}", cells=[cells.get((index, value), Cell()) for value in values])
        for index, name in zip(names["class_index"], names["class_name"], strict=True)
    ]


def describe_classes(rows: pd.DataFrame) -> str:
    """How many classes, from which to which."""
    classes = rows["class_index"].unique()
    if len(classes) == 1:
        return f"class {classes[0]}"
    return f"{len(classes)} classes from {classes.min()} to {classes.max()}"


def stretch_contrast(image: NDArray[np.uint8], clip: float) -> NDArray[np.uint8]:
    """The image `[H, W, C]` with its values between the quantiles `clip` and 1 - `clip` spread over 0 to 255.

    The channels share one scale, so hues stay; an image of one value stays as it is.
    """
    low, high = np.quantile(image, [clip, 1 - clip])
    if high == low:
        return image
    stretched: NDArray[np.uint8] = np.rint(np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return stretched
