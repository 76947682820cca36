"""How often attacks succeed, and how accurate the model stays under them.

python -m analysis.success_rates RUN [--by method,epsilon] [--denominator all] [--against label] [--rounded]
                                     [--output FILE.csv|FILE.parquet] [--format text|markdown|latex|csv]
"""

import argparse
import sys
from collections.abc import Collection, Sequence
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from analysis.attacks.rows import (
    COLUMNS,
    add_up,
    count_rows,
    failed_images,
    initially_correct,
    is_minimum,
    refuse_other_sweeps,
)
from analysis.command_line import table_path, write_table
from analysis.intervals import wilson_interval
from analysis.naming import format_epsilon
from analysis.run import open_run
from analysis.text_tables import FORMATS, Format, text_table
from sweeps.store.terminal_text import terminal_text

Denominator = Literal["all", "initially_correct"]
Against = Literal["label", "clean_prediction"]

DENOMINATORS: tuple[Denominator, ...] = ("all", "initially_correct")
AGAINST: tuple[Against, ...] = ("label", "clean_prediction")
BY = ("method", "epsilon")

# Columns that tell attacks apart. A table by method and epsilon alone would pool what differs in these.
AXES = ("model", "checkpoint", "dataset", "split", "method", "target")
_HEADINGS = {
    "checkpoint": "Checkpoint",
    "method": "Attack",
    "target": "Target",
    "epsilon": "ε",
    "label": "Label",
}
# What adds up; a table of accuracy does not tell targeted attacks from others.
_COUNTS = ("count", "successes_", "zero_gradients_", "targeted_", "untargeted_")
_NEEDED = (
    "method",
    "target",
    "label",
    "clean_prediction",
    "adversarial_prediction",
    "prediction_u8",
    "zero_gradient",
)


def success_rate(
    frame: pd.DataFrame,
    by: Sequence[str] = BY,
    denominator: Denominator = "all",
    *,
    against: Against = "label",
    rounded: bool = False,
) -> pd.DataFrame:
    """Return `rate`, `low`, `high` (Wilson, 95 %), `count` and `zero_gradient_share` by the columns of `by`.

    An attack succeeds when the adversarial prediction is another one than `against`; a targeted attack when it
    is the target besides. Images whose label is the target are left out of targeted rates. `denominator`:
    all images, or those that were right to begin with. `rounded`: the prediction after rounding to 8 bits.
    `zero_gradient_share`: of the images counted, those whose gradient of cross-entropy was exactly zero; see
    `masked_gradients` for what was followed instead. Images that failed have no rows and do not count.

    A group of which no image counts has `count` 0 and the rate NaN. Rows of the `minimum_*` methods, whose
    epsilon is a result, count only where `by` has `method` and no `epsilon`: there, the share of images for
    which any ε was found. Raises ValueError for an unknown column, denominator or `against`, for rows of
    another sweep, and for a group that mixes targeted and untargeted attacks.
    """
    return rates(success_counts(frame, by, denominator, against=against, rounded=rounded), by)


def accuracy(
    frame: pd.DataFrame, by: Sequence[str] = BY, denominator: Denominator = "all", *, rounded: bool = False
) -> pd.DataFrame:
    """Return the share of images whose adversarial prediction is the label, as `success_rate` returns its table.

    Targeted attacks count with all their images. Raises ValueError as `success_rate` does.
    """
    return rates(accuracy_counts(frame, by, denominator, rounded=rounded), by)


def success_counts(
    frame: pd.DataFrame,
    by: Sequence[str] = BY,
    denominator: Denominator = "all",
    *,
    against: Against = "label",
    rounded: bool = False,
) -> pd.DataFrame:
    """Return the counts behind `success_rate`. Counts of parts of the rows add up (`add_up`)."""
    rows = _countable(frame, by, denominator)
    succeeded = successes(rows, against=against, rounded=rounded)
    targeted = rows["target"].notna()
    return _counts(
        rows,
        by,
        succeeded.fillna(False).astype(bool),
        succeeded.notna() & _in_denominator(rows, denominator),
        {"targeted_": targeted, "untargeted_": ~targeted},
    )


def accuracy_counts(
    frame: pd.DataFrame, by: Sequence[str] = BY, denominator: Denominator = "all", *, rounded: bool = False
) -> pd.DataFrame:
    """Return the counts behind `accuracy`. Counts of parts of the rows add up (`add_up`)."""
    rows = _countable(frame, by, denominator)
    right = _predictions(rows, rounded) == rows["label"]
    return _counts(rows, by, right, _in_denominator(rows, denominator), {})


def rates(counts: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the rates of counts by these columns. Raise ValueError if it mixes targeted and untargeted."""
    names = list(dict.fromkeys(by))
    table = add_up([counts[[*names, *(name for name in _COUNTS if name in counts)]]], names)
    _refuse_mixed(table, names)
    table["low"], table["high"] = wilson_interval(table["successes_"], table["count"])
    count = table["count"].where(table["count"] > 0).astype(np.float64)
    table["rate"] = table["successes_"] / count
    table["zero_gradient_share"] = table["zero_gradients_"] / count
    return table[[*names, "rate", "low", "high", "count", "zero_gradient_share"]]


def successes(frame: pd.DataFrame, *, against: Against = "label", rounded: bool = False) -> pd.Series:
    """Return whether each row's attack succeeded, as dtype `boolean`: null if the target is the label itself."""
    if against not in AGAINST:
        raise ValueError(f"against is {against!r}: choose from {', '.join(AGAINST)}")
    prediction, target = _predictions(frame, rounded), frame["target"]
    hit = (prediction != frame[against]) & (target.isna() | (prediction == target))
    return hit.astype("boolean").mask((target == frame["label"]).fillna(False))


def axes_that_vary(frame: pd.DataFrame) -> list[str]:
    """Return the columns that tell the rows' attacks apart: the method, and what else has two values."""
    return [name for name in AXES if name == "method" or frame[name].nunique(dropna=False) > 1]


def _predictions(frame: pd.DataFrame, rounded: bool) -> pd.Series:
    return frame["prediction_u8" if rounded else "adversarial_prediction"]


def _in_denominator(rows: pd.DataFrame, denominator: Denominator) -> pd.Series:
    return initially_correct(rows) | (denominator == "all")


def _countable(frame: pd.DataFrame, by: Sequence[str], denominator: Denominator) -> pd.DataFrame:
    """Return the rows that a table by these columns counts, a missing target as <NA>."""
    refuse_other_sweeps(frame, _NEEDED)
    if denominator not in DENOMINATORS:
        raise ValueError(f"denominator is {denominator!r}: choose from {', '.join(DENOMINATORS)}")
    for column in by:
        if column not in frame:
            raise ValueError(f"by names {column!r}: choose from {', '.join(frame.columns)}")
    rows = frame if _has_minimum(by) else frame[~is_minimum(frame)]
    # pandas read the nulls of an integer column as floats.
    return rows.assign(target=rows["target"].astype("Int32"))


def _has_minimum(by: Sequence[str]) -> bool:
    """Return whether a table by these columns counts the rows of `minimum_*` methods."""
    return "epsilon" not in by and not {"method", "attack"}.isdisjoint(by)


def _counts(
    rows: pd.DataFrame, by: Sequence[str], hit: pd.Series, counted: pd.Series, kinds: dict[str, pd.Series]
) -> pd.DataFrame:
    facts = {
        "count": counted,
        "successes_": hit & counted,
        "zero_gradients_": rows["zero_gradient"] & counted,
        **kinds,
    }
    columns = {name: rows[name] for name in by}
    return add_up([pd.DataFrame(columns | {name: fact.astype("int64") for name, fact in facts.items()})], by)


def _refuse_mixed(table: pd.DataFrame, by: Sequence[str]) -> None:
    if "targeted_" in table and ((table["targeted_"] > 0) & (table["untargeted_"] > 0)).any():
        raise ValueError(
            f"by is {', '.join(by) or 'empty'}, which pools targeted and untargeted attacks: add target to it"
        )


def _left_out(methods: Collection[str], by: Sequence[str]) -> str:
    """Return in words which methods a table by these columns leaves out; nothing if it has all."""
    if not methods or _has_minimum(by):
        return ""
    return (
        f"Left out: {', '.join(sorted(methods))}, whose ε is a result; see `--by method`, and "
        "`python -m analysis.attacks.minimum_epsilon`."
    )


def _printed(table: pd.DataFrame, kind: Format) -> str:
    """Return a table of rates as a terminal shows it, or as a document does: rates with intervals in percent."""
    if kind == "text":
        formats = {"epsilon": format_epsilon} if "epsilon" in table else {}
        return terminal_text(table.to_string(index=False, float_format="{:.4f}".format, formatters=formats))
    names = [name for name in table if name not in ("rate", "low", "high", "count", "zero_gradient_share")]
    texts = {
        _HEADINGS.get(name, name): [_cell(name, value) for value in table[name].astype(object)]
        for name in names
    }
    rows = table.rename(columns={"count": "count_"}).itertuples()
    rates_ = [
        f"{100 * row.rate:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]" if row.count_ else "\N{EN DASH}"
        for row in rows
    ]
    counts = [f"{count:,}" for count in table["count"]]
    return text_table(pd.DataFrame(texts | {"Success": rates_, "Images": counts}), kind)


def _cell(name: str, value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return "none" if name == "target" else "\N{EN DASH}"
    return format_epsilon(float(str(value))) if name == "epsilon" else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.success_rates", description="How often the attacks of a sweep succeed."
    )
    parser.add_argument("run", metavar="RUN", help="run directory: path or URL")
    parser.add_argument(
        "--by",
        metavar="COLUMNS",
        help="columns to group by, such as method,epsilon,label; unless given epsilon, method, and those of "
        f"{', '.join(AXES)} that have several values",
    )
    parser.add_argument(
        "--denominator", default="all", choices=DENOMINATORS, help="images that a rate is of (%(default)s)"
    )
    parser.add_argument("--against", default="label", choices=AGAINST, help="what a success differs from")
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    parser.add_argument("--output", metavar="FILE", type=table_path, help="write the table: .csv, .parquet")
    parser.add_argument("--format", default="text", choices=FORMATS, help="of the table that is printed")
    options = parser.parse_args(arguments)
    by = None if options.by is None else [column for column in options.by.split(",") if column]
    count = partial(
        success_counts,
        by=[*AXES, "epsilon"] if by is None else by,
        denominator=options.denominator,
        against=options.against,
        rounded=options.rounded,
    )
    run, by_found_minimum = open_run(options.run), set()

    def counted(rows: pd.DataFrame) -> pd.DataFrame:
        by_found_minimum.update(rows.loc[is_minimum(rows), "method"].unique())
        return count(rows)

    counts, _ = count_rows(run, counted, count.keywords["by"], [*COLUMNS, *(by or [])])
    table = rates(counts, [*axes_that_vary(counts), "epsilon"] if by is None else by)
    print(_printed(table, options.format))
    counted_against = "of all images, those wrong before any attack included"
    if options.denominator != "all":
        counted_against = "of the images that were right before the attack"
    lines = (
        f"rate: {counted_against}.",
        _left_out(by_found_minimum, count.keywords["by"]),
        failed_images(run),
        run.missing(),
    )
    for line in lines:
        if line:
            # What a document includes holds nothing but the table.
            print(terminal_text(line), file=sys.stdout if options.format == "text" else sys.stderr)
    if options.output is not None:
        write_table(table, options.output)
