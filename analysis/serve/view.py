"""What a page's address asks for: filters, order, page, summary. An address is checked as any other input is.

method=fgsm&method=bim      one of these values
is.target=null              no value (`present`: any)
from.loss=2&to.loss=8/3     a range, its ends included
has.key=test/1              a part of the text, in capitals or not
sort=-loss&page=2           largest first (`sort=loss`: smallest)
by=method&by=epsilon        groups of the summary (`by=none`: all rows in one)
measure=success             what is summarised: a column of numbers or of yes and no
denominator=all             of the success of attacks: `all` images or those `initially_correct`
histogram=loss              a column of numbers
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np

from analysis.serve.columns import Column
from analysis.serve.database import quoted

Pairs = tuple[tuple[str, str], ...]

OPTIONS = ("sort", "page", "by", "measure", "denominator", "histogram")
TESTS = ("from", "to", "is", "has")
DENOMINATORS = ("all", "initially_correct")
NOTHING = "none"

_MOST_LISTED = 12
_LARGEST = 2**63
_BOOLEANS = {"true": True, "false": False}


class BadQuery(ValueError):  # noqa: N818  # said to a person, as a page
    """An address that asks for something that is not there: the field, the value and what is accepted."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A condition on one column. `names` are the fields of the address that make it, to take it away by."""

    column: Column
    test: str
    values: tuple[Any, ...]
    names: tuple[str, ...]

    def condition(self) -> tuple[str, list[Any]]:
        """Return SQL and its parameters: values never become a part of the text."""
        name = quoted(self.column.name)
        if self.test == "from":
            return f"{name} >= ?", [self.values[0]]
        if self.test == "to":
            return f"{name} <= ?", [self.values[0]]
        if self.test == "has":
            return f"contains(lower({name}), lower(?))", [self.values[0]]
        if self.test == "present":
            return f"{name} IS NOT NULL", []
        given = [value for value in self.values if value is not None]
        parts = [f"{name} IN ({', '.join('?' * len(given))})"] if given else []
        parts += [f"{name} IS NULL"] if None in self.values else []
        return f"({' OR '.join(parts)})", given


@dataclass(frozen=True, kw_only=True)
class View:
    """The checked address of a page of rows. `by` is None where the page chooses the groups."""

    pairs: Pairs = ()
    filters: tuple[Filter, ...] = ()
    sort: Column | None = None
    descending: bool = False
    page: int = 1
    by: tuple[str, ...] | None = None
    measure: str | None = None
    denominator: str = "all"
    histogram: Column | None = None
    fixed: tuple[Filter, ...] = field(default=())

    @property
    def conditions(self) -> tuple[Filter, ...]:
        """All that its rows fulfil."""
        return (*self.fixed, *self.filters)

    def where(self) -> tuple[str, list[Any]]:
        """Return the WHERE of its rows, and the parameters."""
        found = [each.condition() for each in self.conditions]
        if not found:
            return "", []
        return "WHERE " + " AND ".join(sql for sql, _ in found), [
            value for _, some in found for value in some
        ]

    def given(self, name: str) -> list[str]:
        """Return the texts of a field of the address."""
        return [value for key, value in self.pairs if key == name]

    def link(self, *added: tuple[str, str], without: Iterable[str] = ()) -> str:
        """Return the query of an address with other fields; those that are added replace what they had."""
        gone = {*without, "page", *(name for name, _ in added)}
        kept = [pair for pair in self.pairs if pair[0] not in gone]
        return "?" + urlencode([*kept, *added])


def parse_query(query: str) -> tuple[Pairs, bool]:
    """Return the fields of a query and whether some were empty: a form sends those that nobody filled."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except (UnicodeDecodeError, ValueError) as error:
        raise BadQuery(f"the address cannot be read: {error}; give UTF-8, at most 1,000 fields") from None
    full = tuple((name, value) for name, value in pairs if value)
    return full, len(full) < len(pairs)


def parse_view(pairs: Pairs, columns: Mapping[str, Column], fixed: Sequence[Filter] = ()) -> View:
    """Return the view that the fields of an address ask for. Raise BadQuery for what the columns do not have."""
    options = {name: [value for key, value in pairs if key == name] for name in OPTIONS}
    sort = _last(options["sort"])
    return View(
        pairs=pairs,
        filters=tuple(_filters(pairs, columns)),
        sort=None if sort is None else _column("sort", sort.removeprefix("-"), columns),
        descending=sort is not None and sort.startswith("-"),
        page=_whole("page", _last(options["page"]) or "1", least=1),
        by=_groups(options["by"], columns),
        measure=_measure(_last(options["measure"]), columns),
        denominator=_one_of("denominator", _last(options["denominator"]) or "all", DENOMINATORS),
        histogram=_histogram(_last(options["histogram"]), columns),
        fixed=tuple(fixed),
    )


def measures(columns: Mapping[str, Column]) -> list[str]:
    """Return the columns that have a mean or a rate."""
    return [name for name, column in columns.items() if column.kind != "text"]


def numbers(columns: Mapping[str, Column]) -> list[str]:
    """Return the columns that have a histogram."""
    return [name for name, column in columns.items() if column.is_number]


def text_of(value: Any) -> str:
    """Return a value as an address has it; `parse_view` reads the same value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _filters(pairs: Pairs, columns: Mapping[str, Column]) -> Iterable[Filter]:
    chosen: dict[str, list[Any]] = {}
    names: dict[str, list[str]] = {}
    for name, text in pairs:
        test, dot, rest = name.partition(".")
        if name in OPTIONS:
            continue
        if name in columns:
            chosen.setdefault(name, []).append(_value(name, text, columns[name]))
            names.setdefault(name, []).append(name)
        elif not (dot and test in TESTS and rest in columns):
            raise BadQuery(
                f"{name!r} is no field of this page: give {', '.join(OPTIONS)}, or a column, alone or behind "
                f"{', '.join(f'{each}.' for each in TESTS)}; columns: {', '.join(columns)}"
            )
        elif test == "is" and _one_of(name, text, ("null", "present")) == "null":
            chosen.setdefault(rest, []).append(None)
            names.setdefault(rest, []).append(name)
        else:
            yield _tested(name, test, text, columns[rest])
    for name, values in chosen.items():
        yield Filter(
            column=columns[name], test="among", values=tuple(values), names=tuple(dict.fromkeys(names[name]))
        )


def _tested(name: str, test: str, text: str, column: Column) -> Filter:
    if test == "is":
        return Filter(column=column, test="present", values=(), names=(name,))
    if test == "has":
        if column.kind != "text":
            raise BadQuery(f"{name} is {text!r}: {column.name} holds no text; give from.{column.name}")
        return Filter(column=column, test=test, values=(text,), names=(name,))
    if not column.is_number:
        raise BadQuery(f"{name} is {text!r}: {column.name} holds no numbers; give {column.name}=VALUE")
    return Filter(column=column, test=test, values=(_number(name, text, column),), names=(name,))


def _value(name: str, text: str, column: Column) -> Any:
    if column.kind == "boolean":
        if text not in _BOOLEANS:
            raise BadQuery(f"{name} is {text!r}: choose from true, false")
        return _BOOLEANS[text]
    if column.is_number:
        return _number(name, text, column)
    if column.choices is not None and text not in column.choices:
        raise BadQuery(f"{name} is {text!r}: choose from {_listed(column.ordered_choices)}")
    return text


def _number(name: str, text: str, column: Column) -> float:
    if column.kind == "integer":
        return _whole(name, text)
    try:
        # As the sweeps take ε: 8/255 is the same number there and here.
        numerator, slash, denominator = text.partition("/")
        value = float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise BadQuery(f"{name} is {text!r}: give a number such as 0.03 or 8/255")
    with np.errstate(over="ignore"):
        return float(np.float32(value)) if column.single else value


def _whole(name: str, text: str, least: int | None = None) -> int:
    try:
        number = int(text) if len(text) < 25 else _LARGEST
    except ValueError:
        number = _LARGEST
    if not -_LARGEST < number < _LARGEST or (least is not None and number < least):
        more = "" if least is None else f", {least} or more"
        raise BadQuery(f"{name} is {text!r}: give a whole number{more}")
    return number


def _groups(names: Sequence[str], columns: Mapping[str, Column]) -> tuple[str, ...] | None:
    if not names:
        return None
    return tuple(_column("by", name, columns).name for name in dict.fromkeys(names) if name != NOTHING)


def _measure(name: str | None, columns: Mapping[str, Column]) -> str | None:
    return None if name is None else _one_of("measure", name, measures(columns))


def _histogram(name: str | None, columns: Mapping[str, Column]) -> Column | None:
    return None if name is None else columns[_one_of("histogram", name, numbers(columns))]


def _column(field_name: str, name: str, columns: Mapping[str, Column]) -> Column:
    return columns[_one_of(field_name, name, list(columns))]


def _one_of(name: str, text: str, accepted: Sequence[str]) -> str:
    if text not in accepted:
        raise BadQuery(f"{name} is {text!r}: choose from {', '.join(accepted)}")
    return text


def _last(texts: Sequence[str]) -> str | None:
    return texts[-1] if texts else None


def _listed(values: Sequence[Any]) -> str:
    rest = f" and {len(values) - _MOST_LISTED} more" if len(values) > _MOST_LISTED else ""
    return ", ".join(map(str, values[:_MOST_LISTED])) + rest
