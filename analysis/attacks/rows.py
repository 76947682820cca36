"""What the rows of an attack sweep mean: which rows count, what an attack is called, what a class is called."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.drawing.labels import file_stem
from analysis.html.choices import asked_for, in_order
from analysis.naming import describe
from analysis.result_files import concat_rows
from analysis.run import AnyRun, Run, opened
from sweeps.store.maintenance import unusable_images

# The epsilon of their rows is what was found, not what was asked for. In older rows the name alone tells.
MINIMUM_PREFIX = "minimum_"
# The stored image of this method is ε · sign(g) by itself: there is no clean image below it.
ALONE = "gradient_alone"

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
    "seeks_minimum",
    "label",
    "label_name",
    "clean_prediction",
    "adversarial_prediction",
    "prediction_u8",
    "zero_gradient",
    "gradient_fallback",
)

# So many rows of counts take little memory.
_FEW = 100_000
# What `describe` needs.
_SUBJECT = ("model", "dataset", "split", "image_index")


def load_rows(run: AnyRun, columns: Iterable[str] = COLUMNS) -> pd.DataFrame:
    """Return these columns of every row of an attack's run. Raises ValueError for another sweep's run."""
    return _opened_attack(run).results(list(dict.fromkeys(columns)))


def row_portions(run: AnyRun, columns: Iterable[str] = COLUMNS) -> Iterator[pd.DataFrame]:
    """Yield the rows of `load_rows`, some at a time, so that memory stays bounded. ValueError likewise."""
    return _opened_attack(run).portions(list(dict.fromkeys(columns)))


class Sums:
    """Counts by the columns of `by`, added up portion by portion, so that the rows may be larger than memory."""

    def __init__(self, by: Sequence[str]) -> None:
        self._by = by
        self._counts: list[pd.DataFrame] = []

    def add(self, counts: pd.DataFrame) -> None:
        """Add the counts of some rows: a table of the columns of `by` and of numbers."""
        self._counts.append(counts)
        # Not each time: the sum so far may be long, as that of a confusion of a thousand classes.
        if sum(map(len, self._counts)) > 2 * len(self._counts[0]) + _FEW:
            self._counts = [add_up(self._counts, self._by)]

    def total(self) -> pd.DataFrame:
        """Return the sums."""
        return add_up(self._counts, self._by)


class Subject:
    """What model and images the rows of all portions are of."""

    def __init__(self) -> None:
        self._rows: list[pd.DataFrame] = []

    def add(self, rows: pd.DataFrame) -> None:
        """Take in some rows."""
        self._rows = [concat_rows([*self._rows, rows[list(_SUBJECT)].drop_duplicates()]).drop_duplicates()]

    def describe(self) -> str:
        """Return what `naming.describe` says of all rows."""
        return describe(self._rows[0])


def count_rows(
    run: AnyRun,
    count: Callable[[pd.DataFrame], pd.DataFrame],
    by: Sequence[str],
    columns: Iterable[str] = COLUMNS,
) -> tuple[pd.DataFrame, str]:
    """Return the sums of `count` over the rows of an attack's run, and what `describe` says of the rows.

    `count` gives a table of the columns of `by` and of counts. It is asked portion by portion.
    """
    sums, subject = Sums(by), Subject()
    for portion in row_portions(run, columns):
        sums.add(count(portion))
        subject.add(portion)
    return sums.total(), subject.describe()


def add_up(tables: Sequence[pd.DataFrame], by: Sequence[str]) -> pd.DataFrame:
    """Add up tables of these columns and counts; a missing value of a column is a value of its own."""
    table, names = concat_rows(tables), list(dict.fromkeys(by))
    if not names:
        return table.sum().to_frame().T
    # Left to themselves, groups without a target would vanish.
    return table.groupby(names, observed=True, dropna=False).sum().reset_index()


def refuse_other_sweeps(frame: pd.DataFrame, needed: Sequence[str]) -> None:
    """Raise ValueError unless these can be rows of an attack sweep with the columns needed."""
    others = set(frame["sweep"].unique()) - {"attack"} if "sweep" in frame else set()
    if others:
        raise ValueError(f"sweep of the rows is {', '.join(map(repr, sorted(others)))}: accepted: 'attack'")
    for column in needed:
        if column not in frame:
            raise ValueError(f"column {column!r} is not among those of the rows: {', '.join(frame.columns)}")


def is_minimum(frame: pd.DataFrame) -> pd.Series:
    """Return which rows hold the minimum ε of an image."""
    by_name = frame["method"].isin(
        [name for name in frame["method"].unique() if name.startswith(MINIMUM_PREFIX)]
    )
    if "seeks_minimum" not in frame:
        return by_name
    # A file of a user may be called minimum_norm.py.
    return frame["seeks_minimum"].eq(True) | (frame["seeks_minimum"].isna() & by_name)


def _opened_attack(run: AnyRun) -> Run:
    attack = opened(run)
    kind = attack.sweep.get("sweep")
    if kind != "attack":
        raise ValueError(f"{run} holds a sweep of kind {kind!r}: give the run directory of an attack sweep")
    return attack


def attack_names(frame: pd.DataFrame) -> pd.Series:
    """Return the method of each row, with a note if it aims at a class: all targets have one name."""
    targeted = np.where(frame["target"].isna(), "", ", targeted")
    return (frame["method"].astype("str") + targeted).astype("category")


def attack_stem(checkpoint: str, attack: str) -> str:
    """Return the part of a file name for a checkpoint and one of `attack_names`."""
    return file_stem(f"{checkpoint}-{attack.replace(', ', '-')}")


def initially_correct(frame: pd.DataFrame) -> pd.Series:
    """Return which rows are of an image whose clean prediction is its label."""
    return frame["clean_prediction"] == frame["label"]


def failed_images(run: AnyRun) -> str:
    """Return in words how many images have no rows because they failed; nothing if there are none."""
    # Not by `Run.status`, which opens every results file.
    failures = unusable_images(opened(run).directory)
    reasons = {failure.image_index: failure.describe() for failure in failures}
    if not reasons:
        return ""
    first = reasons[min(reasons)]
    if len(reasons) == 1:
        return f"1 image failed under some attack and is not among the images of its rates: {first}"
    return (
        f"{len(reasons)} images failed under some attack and are not among the images of its rates, the first is "
        f"{first}; failures/ of the run lists them"
    )


def in_asked_order(table: pd.DataFrame, run: AnyRun) -> pd.DataFrame:
    """Return the table with its checkpoints and attacks as categories in the order in which the sweep names them.

    Figures and reports follow the order of the categories. Values that sweep.json lacks come last, sorted.
    """
    attack = opened(run)
    methods = asked_for(attack, "method")
    asked = {
        "checkpoint": asked_for(attack, "checkpoint"),
        "attack": [each for name in methods for each in (name, f"{name}, targeted")],
    }
    ordered = {
        column: pd.Categorical(table[column].astype("str"), in_order(table[column].unique(), names))
        for column, names in asked.items()
    }
    return table.assign(**ordered)


def values_in_order(column: pd.Series) -> list[str]:
    """Return the values that occur in a column: in the order of its categories, else sorted."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return sorted(column.unique())
    occurring = set(column.unique())
    return [value for value in column.cat.categories if value in occurring]
