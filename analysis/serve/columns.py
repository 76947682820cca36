"""What is known about a column of a run's rows: its kind, its few values or its range."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

Kind = Literal["text", "integer", "real", "boolean"]

# With more values than this, a column is filtered by a range or a part of its text.
MOST_CHOICES = 60


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column with one value a row; its facts add up over portions of the rows.

    `choices` are its values, None if they are many; `low` and `high` its range. `single`: its numbers have
    32 bits.
    """

    name: str
    kind: Kind
    choices: frozenset[Any] | None = frozenset()
    has_nulls: bool = False
    low: float | None = None
    high: float | None = None
    single: bool = False

    @property
    def is_number(self) -> bool:
        """True if it has a range."""
        return self.kind in ("integer", "real")

    @property
    def is_constant(self) -> bool:
        """True if all rows have the same value, or none has any."""
        return self.choices is not None and len(self.choices) + self.has_nulls <= 1

    @property
    def ordered_choices(self) -> list[Any]:
        """The few values, sorted."""
        return sorted(self.choices or ())

    def extended(self, values: pa.ChunkedArray) -> "Column":
        """Return the facts with those of further rows."""
        low, high = _range(values) if self.is_number else (None, None)
        return replace(
            self,
            choices=_with_choices(self.choices, values),
            has_nulls=self.has_nulls or values.null_count > 0,
            low=_of_both(min, self.low, low),
            high=_of_both(max, self.high, high),
        )


def is_flat(kind: pa.DataType) -> bool:
    """Return whether values of this type can be filtered: not lists, structs or bytes."""
    return _kind(kind) is not None


def extended(columns: Mapping[str, Column], table: pa.Table, num_rows_before: int) -> dict[str, Column]:
    """Return the columns with the facts of the rows of a table, which may lack some and have others."""
    found = dict(columns)
    for field in table.schema:
        if field.name not in found:
            new = Column(name=field.name, kind=_kind(field.type) or "text", single=field.type == pa.float32())
            found[field.name] = replace(new, has_nulls=num_rows_before > 0)
        found[field.name] = found[field.name].extended(table[field.name])
    for name in found.keys() - set(table.column_names):
        found[name] = replace(found[name], has_nulls=True)
    return found


def _kind(kind: pa.DataType) -> Kind | None:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind):
        return "real"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def _with_choices(choices: frozenset[Any] | None, values: pa.ChunkedArray) -> frozenset[Any] | None:
    if choices is None:
        return None
    distinct = pc.unique(values)
    if len(distinct) > MOST_CHOICES + 1:
        return None
    # What is no number equals nothing, not even itself.
    together = choices | {value for value in distinct.to_pylist() if value is not None and value == value}
    return together if len(together) <= MOST_CHOICES else None


def _range(values: pa.ChunkedArray) -> tuple[float | None, float | None]:
    if pa.types.is_floating(values.type):
        values = values.filter(pc.is_finite(values))
    ends = pc.min_max(values)
    return ends["min"].as_py(), ends["max"].as_py()


def _of_both(choose: Any, one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return choose(known) if known else None
