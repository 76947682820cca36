"""One strip of images per class, its seeds or recipes side by side: what contact sheets and recipe strips draw."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.drawing.contrast import stretch_contrast
from analysis.drawing.image_grid import Cell, Strip
from analysis.generation.judges import Judge, choose_judge, verdicts
from analysis.run import Run

Images = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Look:
    """How images are shown: the judge whose verdict marks them, or the model itself, and the contrast stretch.

    `stretch` is the share of an image's values that is clipped at each end, in [0, 0.5), None for the image
    as it is stored.
    """

    judge: str | None = None
    by_model: bool = False
    stretch: float | None = None

    def __post_init__(self) -> None:
        if self.stretch is not None and not 0 <= self.stretch < 0.5:
            raise ValueError(f"stretch is {self.stretch}: give a share from 0 up to, not including, 0.5")

    def verdicts(self, rows: pd.DataFrame) -> pd.Series | None:
        """Return whether each image is taken for its class, null without a verdict; None if nobody is asked."""
        if self.judge is not None:
            return verdicts(rows, self.judge)
        return Judge(name="the model", is_judge=False).verdicts(rows) if self.by_model else None

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image `[H, W, C]` as it is shown."""
        return image if self.stretch is None else stretch_contrast(image, self.stretch)

    def notes(self) -> list[str]:
        """Return what a reader of the page has to know about its look."""
        notes = []
        if self.judge is not None:
            notes.append(f"\N{CHECK MARK} {self.judge} names the class first, \N{BALLOT X} it names another")
        elif self.by_model:
            notes.append(
                "\N{CHECK MARK} the network itself names the class first, \N{BALLOT X} it names another"
            )
        if self.stretch is not None:
            notes.append(
                f"contrast stretched image by image: {self.stretch:.1%} of its values clipped at each end"
            )
        return notes


def choose_look(rows: pd.DataFrame, judge: str | None, *, stretch: float | None = None) -> Look:
    """Return a look with the marks of `judge`, of the first judge if None, or of the model where there is none."""
    chosen = choose_judge(rows, judge)
    return Look(judge=chosen, by_model=chosen is None and "top1" in rows, stretch=stretch)


def load_images(run: Run, rows: pd.DataFrame) -> Images:
    """Return the stored images of the rows by `image_key`."""
    stored = rows[rows["image_key"].notna()]
    keys = [str(key) for key in stored["image_key"]]
    return dict(zip(keys, run.images(keys, rows=stored), strict=True))


def class_strips(
    rows: pd.DataFrame, images: Images, column: str, values: Sequence[Hashable], look: Look
) -> list[Strip]:
    """Return one strip per class of `rows`, by class index, with a cell for each of `values` of `column`.

    A cell without a row, or whose row has no entry in `images`, says so in its place.
    """
    right = look.verdicts(rows)
    cells: dict[tuple[int, Hashable], Cell] = {}
    for position, row in enumerate(rows[["class_index", column, "image_key"]].itertuples(index=False)):
        image = images.get(row[2]) if isinstance(row[2], str) else None
        verdict = None if right is None or pd.isna(right.iloc[position]) else bool(right.iloc[position])
        shown = None if image is None else look.apply(image)
        cells[int(row[0]), row[1]] = Cell(image=shown, correct=verdict)
    names = rows.drop_duplicates("class_index").sort_values("class_index")
    return [
        Strip(title=_title(index, name), cells=[cells.get((index, value), Cell()) for value in values])
        for index, name in zip(names["class_index"], names["class_name"], strict=True)
    ]


def _title(index: int, name: str) -> str:
    return f"class {index}" if name == str(index) else f"{index} {name}"
