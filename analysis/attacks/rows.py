"""What the rows of an attack sweep mean: which rows count, what an attack is called, what a class is called."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.drawing.labels import file_stem
from analysis.naming import class_names, describe, format_epsilon, recorded_class_names  # noqa: F401
from analysis.result_files import concat_rows
from analysis.run import AnyRun, Run, opened

# The epsilon of their rows is what was found, not what was asked for.
MINIMUM_PREFIX = "minimum_"

# What every table of an attack sweep needs.
COLUMNS = (
    "sweep",
    "model",
    "checkpoint",
    "dataset",
    "split",
    "method",
    "target",
    "image_index",
    "epsilon",
    "label",
    "label_name",
    "clean_prediction",
    "adversarial_prediction",
    "prediction_u8",
    "zero_gradient",
)

# Rows of counts that are no burden.
_FEW = 100_000
# What `describe` needs.
_SUBJECT = ("model", "dataset", "split", "image_index")


def load_rows(run: AnyRun, columns: Iterable[str] = COLUMNS) -> pd.DataFrame:
    """Return these columns of every row of an attack's run. Raises ValueError for another sweep's run."""
    return _opened_attack(run).results(list(dict.fromkeys(columns)))


def row_portions(run: AnyRun, columns: Iterable[str] = COLUMNS) -> Iterator[pd.DataFrame]:
    """Yield the rows of `load_rows`, some at a time, so that memory stays bounded. ValueError likewise."""
    return _opened_attack(run).portions(list(dict.fromkeys(columns)))


def count_rows(
    run: AnyRun,
    count: Callable[[pd.DataFrame], pd.DataFrame],
    by: Sequence[str],
    columns: Iterable[str] = COLUMNS,
) -> tuple[pd.DataFrame, str]:
    """What `count` makes of the rows of an attack's run, and what `describe` says of them.

    `count` gives a table of the columns of `by` and of counts; it is asked portion by portion, and its counts are
    added up, so that the run may be larger than memory.
    """
    counts: list[pd.DataFrame] = []
    subjects: list[pd.DataFrame] = []
    for portion in row_portions(run, columns):
        counts.append(count(portion))
        # Not each time: the sum so far may be long, as that of a confusion of a thousand classes.
        if sum(map(len, counts)) > 2 * len(counts[0]) + _FEW:
            counts = [add_up(counts, by)]
        subjects = [concat_rows([*subjects, portion[list(_SUBJECT)].drop_duplicates()]).drop_duplicates()]
    return add_up(counts, by), describe(subjects[0])


def add_up(tables: Sequence[pd.DataFrame], by: Sequence[str]) -> pd.DataFrame:
    """Sums by these columns of tables that have them and counts alone; what is missing counts as a value."""
    table, names = concat_rows(tables), list(dict.fromkeys(by))
    if not names:
        return table.sum().to_frame().T
    # Left to themselves, groups without a target would vanish.
    return table.groupby(names, observed=True, dropna=False).sum().reset_index()


def refuse_other_sweeps(frame: pd.DataFrame, needed: Sequence[str]) -> None:
    """ValueError unless these can be rows of an attack sweep with the columns needed."""
    others = set(frame["sweep"].unique()) - {"attack"} if "sweep" in frame else set()
    if others:
        raise ValueError(f"sweep of the rows is {', '.join(map(repr, sorted(others)))}: accepted: 'attack'")
    for column in needed:
        if column not in frame:
            raise ValueError(f"column {column!r} is not among those of the rows: {', '.join(frame.columns)}")


def is_minimum(frame: pd.DataFrame) -> pd.Series:
    """Which rows say the minimum epsilon of an image."""
    return frame["method"].isin(
        [name for name in frame["method"].unique() if name.startswith(MINIMUM_PREFIX)]
    )


def _opened_attack(run: AnyRun) -> Run:
    attack = opened(run)
    kind = attack.sweep.get("sweep")
    if kind != "attack":
        raise ValueError(f"{run} holds a sweep of kind {kind!r}: give the run directory of an attack sweep")
    return attack


def attack_names(frame: pd.DataFrame) -> pd.Series:
    """The method of each row, with a note where it aims at a class: all targets go by one name."""
    targeted = np.where(frame["target"].isna(), "", ", targeted")
    return (frame["method"].astype("str") + targeted).astype("category")


def attack_stem(checkpoint: str, attack: str) -> str:
    """A part of a file name for a checkpoint and one of `attack_names`."""
    return file_stem(f"{checkpoint}-{attack.replace(', ', '-')}")


def initially_correct(frame: pd.DataFrame) -> pd.Series:
    """Which rows are of an image whose clean prediction is its label."""
    return frame["clean_prediction"] == frame["label"]
