"""Verdicts on generated images: of the judges, and of the model itself as a footnote."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.generation import judge_accuracy

RIGHT, WRONG, NONE, ABSENT = "1", "0", "-", " "


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who gives verdicts; `is_judge` is False for the model that the images were made on."""

    name: str
    is_judge: bool

    @property
    def label(self) -> str:
        """The name, with a note for the model itself: it took part in the optimisation."""
        return self.name if self.is_judge else f"{self.name} (made the images)"

    def verdicts(self, rows: pd.DataFrame) -> pd.Series:
        """Whether each image is taken for its class, null without a verdict."""
        if self.is_judge:
            return judge_accuracy.verdicts(rows, self.name)
        return (rows["top1"] == rows["class_index"]).astype("boolean")

    def answers(self, rows: pd.DataFrame) -> pd.Series:
        """The class that each image is taken for."""
        return rows[f"judge_top1.{self.name}"] if self.is_judge else rows["top1"]


def judges_of(rows: pd.DataFrame) -> list[Judge]:
    """The judges of the rows, and last the model that made the images."""
    models = sorted(map(str, rows["model"].unique()))
    judges = [Judge(name=name, is_judge=True) for name in judge_accuracy.judges(rows) if name not in models]
    own = [Judge(name=" and ".join(models), is_judge=False)]
    return judges + own


def verdict_codes(
    rows: pd.DataFrame, recipes: Sequence[str], seeds: Sequence[int], judges: Sequence[Judge]
) -> list[list[str]]:
    """For each class and judge a letter per recipe and seed: right, wrong, no verdict, or no such image."""
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
        codes[places] = np.where(right.isna(), NONE, np.where(right.fillna(False), RIGHT, WRONG))
        by_judge.append(["".join(row) for row in codes.reshape(len(classes), -1)])
    return [list(codes) for codes in zip(*by_judge, strict=True)]
