"""How many rows each combination of axes and verdicts has: a small table that answers for millions.

A rate by method, ε and class adds up these counts. What asks for another column is counted from all rows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import duckdb

from analysis.serve.columns import MOST_CHOICES, Column
from analysis.serve.database import quoted

# Fewer rows are counted at once.
LEAST_ROWS = 200_000
_MOST_COMBINATIONS = 2_000_000

# Beside the axes of the sweep, the one column of numbers here: how many rows are so.
_NUM = quoted("number of rows")
_WANTED = (
    "success",
    "initially_correct",
    "correct",
    "reached",
    "zero_gradient",
    "seeks_minimum",
    "target",
    "label",
    "label_name",
)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A table of counts, and what it tells apart. `only_chosen`: columns that hold for rows of chosen ε alone."""

    table: str
    names: frozenset[str]
    only_chosen: frozenset[str] = frozenset()

    def answers(self, names: Iterable[str], *, minimum_left_out: bool) -> bool:
        """Return whether a question about these columns can be answered from it."""
        return self.names >= set(names) and (minimum_left_out or not self.only_chosen & set(names))


def number_where(condition: str, *, of_counts: bool) -> str:
    """Return as SQL how many rows are so, of a table of rows or one of counts."""
    if not of_counts:
        return f"count(*) FILTER (WHERE {condition})"
    return f"CAST(coalesce(sum({_NUM}) FILTER (WHERE {condition}), 0) AS BIGINT)"


def is_minimum(columns: Mapping[str, Column]) -> str:
    """Return as SQL which rows hold the minimum ε of an image, as `analysis.attacks.rows.is_minimum` tells."""
    by_name = "starts_with(\"method\", 'minimum_')"
    return f"coalesce(seeks_minimum, {by_name})" if "seeks_minimum" in columns else by_name


def make_counts(
    cursor: duckdb.DuckDBPyConnection,
    table: str,
    source: str,
    columns: Mapping[str, Column],
    axes: Iterable[str],
) -> Counts | None:
    """Create the table of counts of all rows; None if too many combinations are possible."""
    wanted = [name for name in dict.fromkeys([*axes, *_WANTED]) if name in columns]
    taken = {name: quoted(name) for name in wanted if columns[name].choices is not None}
    only_chosen = set()
    if "epsilon" in wanted and "epsilon" not in taken and "method" in columns:
        # The minimum ε of each image are many; those that were chosen are few.
        chosen = f"CASE WHEN {is_minimum(columns)} THEN NULL ELSE epsilon END"
        [(num,)] = cursor.execute(f"SELECT approx_count_distinct({chosen}) FROM {source}").fetchall()
        if num <= MOST_CHOICES:
            taken["epsilon"] = chosen
            only_chosen.add("epsilon")
    # The name of a label makes no further combinations.
    if prod(_num_values(columns[name]) for name in taken if name != "label_name") > _MOST_COMBINATIONS:
        return None
    named = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in taken.items())
    cursor.execute(f"CREATE TABLE {table} AS SELECT {named}, count(*) AS {_NUM} FROM {source} GROUP BY ALL")
    return Counts(table=table, names=frozenset(taken), only_chosen=frozenset(only_chosen))


def _num_values(column: Column) -> int:
    num = MOST_CHOICES if column.choices is None else len(column.choices)
    return max(1, num + column.has_nulls)
