"""Whether judges recognise the images of a recipe, and how recipes compare."""

from collections.abc import Iterable

import pandas as pd

from analysis.claims.claim import Measurement
from analysis.claims.evidence import Evidence
from analysis.claims.means import paired_difference
from analysis.claims.rates import rate, rate_difference
from analysis.generation.judge_accuracy import judge_accuracy

# What is said of classes in general needs a few of them, what is said of one a few seeds.
FEWEST_CLASSES, FEWEST_SEEDS = 4, 8
IMAGE = ["class_index", "seed"]


def of_recipe(evidence: Evidence, recipe: str, class_index: int | None = None) -> pd.DataFrame:
    """Return the rows of a recipe, of all classes or one; none if they are too few to judge."""
    rows = evidence.rows[evidence.rows["recipe"] == recipe]
    if class_index is None:
        return rows if rows["class_index"].nunique() >= FEWEST_CLASSES else rows[:0]
    rows = rows[rows["class_index"] == class_index]
    return rows if len(rows) >= FEWEST_SEEDS else rows[:0]


def recognised(rows: pd.DataFrame, rank: str = "top1") -> dict[str, Measurement]:
    """Measure the share of the images that each judge takes for their class, by judge."""
    if rows.empty:
        return {}
    table = judge_accuracy(rows, by=(), rank=rank)
    judged = table[table["is_judge"]]
    return {
        row["judge"]: rate(round(row["rate"] * row["count"]), row["count"], f"judge {row['judge']}")
        for _, row in judged.iterrows()
    }


def share_recognised(
    evidence: Evidence,
    recipes: Iterable[str],
    class_index: int | None = None,
    *,
    rank: str = "top1",
    fewest: int = 1,
) -> list[Measurement]:
    """Measure the share that each judge recognises, by recipe, of recipes with `fewest` images or more."""
    return [
        rate(each.value * each.count, each.count, f"{recipe}, {each.subject}")
        for recipe in recipes
        for each in recognised(of_recipe(evidence, recipe, class_index), rank).values()
        if each.count >= fewest
    ]


def gain_in_recognition(
    evidence: Evidence, recipe: str, over: str, class_index: int | None = None
) -> list[Measurement]:
    """Measure how many more images of one recipe than of another each judge recognises, cell by cell."""
    one, other = of_recipe(evidence, recipe, class_index), of_recipe(evidence, over, class_index)
    both = pd.MultiIndex.from_frame(one[IMAGE]).intersection(pd.MultiIndex.from_frame(other[IMAGE]))
    shares = [recognised(each[pd.MultiIndex.from_frame(each[IMAGE]).isin(both)]) for each in (one, other)]
    judges = sorted(set(shares[0]) & set(shares[1]))
    return [rate_difference(shares[0][each], shares[1][each], f"judge {each}") for each in judges]


def difference(evidence: Evidence, of: str, recipe: str, over: str, subject: str = "") -> list[Measurement]:
    """Measure the mean of a column under a recipe minus that under another, class by class and seed by seed."""
    pair, rows = (recipe, over), of_many_classes(evidence)
    return paired_difference(rows, of=of, between="recipe", pair=pair, by=IMAGE, subject=subject)


def of_many_classes(evidence: Evidence) -> pd.DataFrame:
    rows = evidence.rows
    return rows if rows["class_index"].nunique() >= FEWEST_CLASSES else rows[:0]
