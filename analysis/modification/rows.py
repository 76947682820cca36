"""Rows of modified images: the columns that all views read, and what classes are called."""

from collections.abc import Sequence

import pandas as pd

from analysis.naming import recorded_class_names
from analysis.run import AnyRun, Run, open_sweep

MODIFY = "modify"

COLUMNS = (
    "sweep",
    "model",
    "dataset",
    "split",
    "key",
    "image_index",
    "label",
    "label_name",
    "target",
    "target_name",
    "num_steps",
    "initial_prediction",
    "initial_confidence",
    "prediction",
    "confidence",
    "first_hit_step",
    "hit_l2",
    "l2",
    "linf",
    "image_file",
    "image_key",
    "clean_file",
    "clean_key",
)


def load_rows(run: AnyRun, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Return what the tables and figures need of a run's rows. Raise ValueError for another sweep's run."""
    return open_sweep(run, MODIFY).results(columns)


def names_of(frame: pd.DataFrame, column: str) -> dict[int, str]:
    """Return index and name of each `label` or `target`, such as `3 Dress`, by index."""
    names = frame[[column, f"{column}_name"]].drop_duplicates(column).sort_values(column)
    return {int(index): f"{index} {name}" for index, name in names.itertuples(index=False, name=None)}


def class_names(run: Run, frame: pd.DataFrame) -> dict[int, str]:
    """Return index and name of every known class; an image may be taken for one that is no label and no target."""
    return names_of(frame, "label") | names_of(frame, "target") | recorded_class_names(run)
