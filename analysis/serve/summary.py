"""Groups of the rows of a view: how often attacks succeed, a rate of yes and no, or a mean, with its interval.

The database counts; `analysis.attacks.success_rates` and `analysis.intervals` make rates and intervals of the
counts, so that a page says what their tables say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.attacks.success_rates import rates
from analysis.intervals import interval_of_moments, wilson_interval
from analysis.serve.columns import MOST_CHOICES, Column
from analysis.serve.counts import is_minimum, number_where
from analysis.serve.database import quoted
from analysis.serve.rows import RunRows
from analysis.serve.view import BadQuery, View
from sweeps.schemas.axis_kinds import axis_kinds, identity_columns

SUCCESS = "success"
MOST_GROUPS = 100_000


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is asked of each group: `numbers` of rows by condition, `others` as SQL, and of which columns."""

    numbers: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...]
    leaves_out_minimum: bool = False


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The measure and the groups of a table: the columns of `by`, `value`, `low`, `high` and `count`.

    `is_rate`: values are shares in [0, 1]. `note` says what the table leaves out.
    """

    measure: str
    by: tuple[str, ...]
    table: pd.DataFrame
    is_rate: bool
    note: str = ""


def summary(rows: RunRows, view: View) -> Summary | None:
    """Return the summary of a view; None for a run without anything to measure.

    Raises BadQuery for more groups than can be shown, and if a group mixes targeted and untargeted attacks.
    """
    columns = rows.columns
    measure = view.measure or default_measure(columns)
    if measure is None:
        return None
    by = default_groups(rows, measure) if view.by is None else view.by
    if rows.run.kind == "attack" and measure == SUCCESS:
        return _success(rows, view, by)
    table = _aggregated(rows, view, by, _moments(columns[measure], measure))
    if columns[measure].kind == "boolean":
        low, high = wilson_interval(table["hits_"], table["count"])
        value = table["hits_"] / table["count"].where(table["count"] > 0)
    else:
        value = table["mean_"].astype(float)
        low, high = interval_of_moments(value, table["deviation_"].astype(float), table["count"])
    table = table[[*by, "count"]].assign(value=value, low=low, high=high)
    is_rate = columns[measure].kind == "boolean"
    return Summary(measure=measure, by=by, table=table, is_rate=is_rate)


def default_measure(columns: Mapping[str, Column]) -> str | None:
    """Return the verdict on the rows, or the first of the columns that most runs have."""
    likely = (SUCCESS, "correct", "reached", "activation")
    return next((name for name in likely if name in columns), None)


def default_groups(rows: RunRows, measure: str | None) -> tuple[str, ...]:
    """Return the axes of the sweep that have a few values."""
    kinds, columns = axis_kinds(rows.run.sweep), rows.columns
    axes = identity_columns(kinds) if kinds else ()
    known = [columns[name] for name in axes if name in columns]
    few = [each for each in known if each.choices is not None and not each.is_constant]
    # Minimum ε are many. A table of success by ε leaves them out, so there it is of the others.
    success = rows.run.kind == "attack" and measure == SUCCESS
    many = [each for each in known if success and each.name == "epsilon" and each.choices is None]
    return tuple(each.name for each in [*few, *many] if each.name not in ("image_index", "class_index"))


def _success(rows: RunRows, view: View, by: tuple[str, ...]) -> Summary:
    """Return the success of attacks, counted as `analysis.attacks.success_rates.success_counts` does."""
    leaves_out = "epsilon" in by or "method" not in by
    counted = '"success" IS NOT NULL' + (" AND initially_correct" if view.denominator != "all" else "")
    facts = Facts(
        numbers={
            "count": counted,
            "successes_": f'{counted} AND "success"',
            "zero_gradients_": f"{counted} AND zero_gradient",
            "targeted_": '"target" IS NOT NULL',
            "untargeted_": '"target" IS NULL',
        },
        names=("success", "initially_correct", "zero_gradient", "target"),
        leaves_out_minimum=leaves_out,
    )
    counts = _aggregated(rows, view, by, facts)
    try:
        table = rates(counts, by).rename(columns={"rate": "value"}) if len(counts) else _nothing(by)
    except ValueError as error:
        raise BadQuery(str(error)) from error
    note = ""
    if leaves_out and any(str(each).startswith("minimum_") for each in _methods(rows)):
        note = "Left out: attacks that seek a minimum, whose ε is a result; groups by method without ε have them."
    return Summary(measure=SUCCESS, by=by, table=table, is_rate=True, note=note)


def _methods(rows: RunRows) -> Sequence[object]:
    return rows.columns["method"].ordered_choices


def _moments(column: Column, measure: str) -> Facts:
    name = quoted(column.name)
    if column.kind == "boolean":
        return Facts(numbers={"count": f"{name} IS NOT NULL", "hits_": name}, names=(measure,))
    known = f"isfinite({name})" if column.kind == "real" else f"{name} IS NOT NULL"
    value = f"CAST({name} AS DOUBLE)"
    others = {
        "mean_": f"avg({value}) FILTER (WHERE {known})",
        "deviation_": f"stddev_samp({value}) FILTER (WHERE {known})",
    }
    return Facts(numbers={"count": known}, others=others, names=(measure,))


def _aggregated(rows: RunRows, view: View, by: Sequence[str], facts: Facts) -> pd.DataFrame:
    """Return a row a group, sorted: the columns of `by` and the facts."""
    where, parameters = view.where()
    asked = {*by, *facts.names, *(each.column.name for each in view.conditions)}
    if facts.leaves_out_minimum:
        further = f"NOT {is_minimum(rows.columns)}"
        where = f"{where} AND {further}" if where else f"WHERE {further}"
        asked |= {"method", "seeks_minimum"} & rows.columns.keys()
    counts = rows.counts
    of_counts = (
        counts is not None
        and not facts.others
        and counts.answers(asked, minimum_left_out=facts.leaves_out_minimum)
    )
    source = counts.table if counts is not None and of_counts else rows.source
    numbers = {name: number_where(sql, of_counts=of_counts) for name, sql in facts.numbers.items()}
    named = [
        f"{sql} AS {quoted(f'fact {number}')}"
        for number, sql in enumerate([*numbers.values(), *facts.others.values()])
    ]
    groups = [quoted(name) for name in by]
    grouped = f"GROUP BY {', '.join(groups)} ORDER BY {', '.join(groups)}" if groups else ""
    found = rows.answer(
        f"SELECT {', '.join([*groups, *named])} FROM {source} {where} {grouped} LIMIT {MOST_GROUPS + 1}",
        parameters,
    )
    if len(found) > MOST_GROUPS:
        raise BadQuery(
            f"by is {', '.join(by)}: these are more than {MOST_GROUPS:,} groups; leave out a column of more than "
            f"{MOST_CHOICES} values"
        )
    table = pd.DataFrame(found, columns=[*by, *facts.numbers, *facts.others])
    return table.astype(dict.fromkeys(by, object) | {"count": np.int64})


def _nothing(by: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=[*by, "value", "low", "high", "count"])
