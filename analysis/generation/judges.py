"""Verdicts on generated images: of the judges, and of the model that made them as a footnote.

A judge is a network that took no part in making the images. Its columns are `judge_top1.NAME`, the class that it
ranks first, and `judge_top5_hit.NAME`, whether the class is among its first five.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RANKS = {"top1": "judge_top1.", "top5": "judge_top5_hit."}

# One letter per image in the data of the gallery's script.
RIGHT, WRONG, NO_VERDICT, ABSENT = "1", "0", "-", " "


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A network with verdicts; `is_judge` is False for the model that the images were made on."""

    name: str
    is_judge: bool

    @property
    def label(self) -> str:
        """The name, with a note for the model itself: it took part in the optimisation."""
        return self.name if self.is_judge else f"{self.name} (made the images)"

    def verdicts(self, rows: pd.DataFrame) -> pd.Series:
        """Return whether each image is taken for its class, null without a verdict."""
        if self.is_judge:
            return verdicts(rows, self.name)
        return (rows["top1"] == rows["class_index"]).astype("boolean")

    def answers(self, rows: pd.DataFrame) -> pd.Series:
        """Return the class that each image is taken for."""
        return rows[f"judge_top1.{self.name}"] if self.is_judge else rows["top1"]


def verdict_columns(names: Iterable[str]) -> list[str]:
    """Return those of these columns that hold verdicts of judges."""
    return [name for name in names if name.startswith(tuple(RANKS.values()))]


def judge_names(rows: pd.DataFrame, rank: str = "top1") -> list[str]:
    """Return the names of the networks that `rows` has columns of verdicts of, sorted."""
    prefix = RANKS[rank]
    return sorted(name.removeprefix(prefix) for name in rows.columns if name.startswith(prefix))


def verdicts(rows: pd.DataFrame, judge: str, rank: str = "top1") -> pd.Series:
    """Return whether `judge` takes each image for its class, as dtype `boolean`: null where it gave no verdict."""
    answer = rows[f"{RANKS[rank]}{judge}"]
    if rank == "top5":
        return answer.astype("boolean")
    return (answer == rows["class_index"]).astype("boolean").mask(answer.isna())


def judges_of(rows: pd.DataFrame) -> list[Judge]:
    """Return the judges of the rows, and last the model that made the images."""
    models = sorted(map(str, rows["model"].unique()))
    judges = [Judge(name=name, is_judge=True) for name in judge_names(rows) if name not in models]
    return [*judges, Judge(name=" and ".join(models), is_judge=False)]


def choose_judge(rows: pd.DataFrame, judge: str | None) -> str | None:
    """Return `judge`, or the first judge of the rows if it is None; None without judges.

    Raise ValueError for a name without verdicts in the rows.
    """
    known = judge_names(rows)
    if judge is not None and judge not in known:
        raise ValueError(
            f"judge is {judge!r}: choose from {', '.join(known) or 'none, as the run had no judges'}"
        )
    first = [each.name for each in judges_of(rows) if each.is_judge] or known or [None]
    return judge or first[0]


def verdict_codes(
    rows: pd.DataFrame, recipes: Sequence[str], seeds: Sequence[int], judges: Sequence[Judge]
) -> list[list[str]]:
    """Return for each class and judge a letter per recipe and seed: right, wrong, no verdict, or no such image."""
    classes = np.sort(rows["class_index"].unique())
    places = (
        np.searchsorted(classes, rows["class_index"].to_numpy()),
        pd.Index(recipes).get_indexer(rows["recipe"]),
        pd.Index(seeds).get_indexer(rows["seed"]),
    )
    by_judge = []
    for judge in judges:
        codes = np.full((len(classes), len(recipes), len(seeds)), ABSENT)
        right = judge.verdicts(rows)
        codes[places] = np.where(right.isna(), NO_VERDICT, np.where(right.fillna(False), RIGHT, WRONG))
        by_judge.append(["".join(row) for row in codes.reshape(len(classes), -1)])
    return [list(codes) for codes in zip(*by_judge, strict=True)]
