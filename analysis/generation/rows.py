"""Rows of generated images, and the one order in which all views show recipes, seeds and judges."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.generation.judges import Judge, judges_of, verdict_columns
from analysis.html.choices import asked_for, in_order
from analysis.run import Run

COLUMNS = ("model", "class_index", "class_name", "seed", "recipe", "image_file", "image_key")


@dataclass(frozen=True, kw_only=True)
class GeneratedImages:
    """The images of a run: a row each, sorted by class, recipe and seed, and the order of what they differ in."""

    run: Run
    rows: pd.DataFrame
    recipes: Sequence[str]
    seeds: Sequence[int]
    judges: Sequence[Judge]


def load_rows(run: Run, more: Sequence[str] = ()) -> pd.DataFrame:
    """Return a row per image with its verdicts and the columns of `more`, sorted by class, recipe and seed.

    The lists per step, most of a row's bytes, stay unread unless `more` names them.
    """
    columns = [*COLUMNS, *more, *verdict_columns(run.column_names)]
    rows = run.results(list(dict.fromkeys(columns)))
    return rows.sort_values(["class_index", "recipe", "seed"], ignore_index=True)


def load_generated(run: Run, more: Sequence[str] = ()) -> GeneratedImages:
    """Return the images of a run with the columns of `more`."""
    rows = load_rows(run, more)
    return GeneratedImages(
        run=run,
        rows=rows,
        recipes=recipe_order(run, rows),
        seeds=sorted(int(seed) for seed in rows["seed"].unique()),
        judges=judges_of(rows),
    )


def recipe_order(run: Run, rows: pd.DataFrame) -> list[str]:
    """Return the recipes of the rows in the order in which the sweep was asked for them."""
    return in_order(rows["recipe"].unique(), asked_for(run, "recipe"))


def describe_classes(rows: pd.DataFrame) -> str:
    """Return in words how many classes the rows have, from which to which."""
    classes = rows["class_index"].unique()
    if len(classes) == 1:
        return f"class {classes[0]}"
    return f"{len(classes)} classes from {classes.min()} to {classes.max()}"
