"""The form of a page of rows: a control for each column whose values differ, set to what the address asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.serve.columns import Column
from analysis.serve.formatting import shown
from analysis.serve.images import key_column
from analysis.serve.rows import FILE, ROW, RunRows
from analysis.serve.view import View, text_of
from sweeps.schemas import IMAGE_COLUMNS
from sweeps.schemas.axis_kinds import axis_kinds, identity_columns

# What most readers filter by, beside the axes of the sweep.
_LIKELY = (
    "key",
    "label",
    "label_name",
    "class_name",
    "clean_prediction",
    "adversarial_prediction",
    "prediction",
    "success",
    "initially_correct",
    "correct",
    "reached",
)
_BOOKKEEPING = {
    "sweep",
    "model_digest",
    "shard_id",
    "attempt",
    "schema_version",
    "batch_size",
    FILE,
    ROW,
    *(f"{name}_{part}" for name in IMAGE_COLUMNS for part in ("file", "key")),
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """A value that can be chosen: the field of the address and its text, and what a reader sees."""

    field: str
    value: str
    words: str
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Control:
    """What a column is filtered by: options, or texts of fields; `placeholders` say what there is."""

    column: Column
    options: Sequence[Option] = ()
    texts: Sequence[tuple[str, str, str, str]] = ()  # field, words, value, placeholder
    fields: Sequence[str] = ()
    active: bool = False


def controls(rows: RunRows, view: View) -> tuple[list[Control], list[Control]]:
    """Return the controls that most readers want, and all others."""
    differing = {name: column for name, column in rows.columns.items() if not column.is_constant}
    first = [name for name in (*axes(rows), *_LIKELY) if name in differing]
    others = [name for name in differing if name not in first]
    names = rows.run.class_names
    made = {name: _control(differing[name], view, names) for name in (*first, *others)}
    return [made[name] for name in dict.fromkeys(first)], [made[name] for name in others]


def axes(rows: RunRows) -> tuple[str, ...]:
    """Return the columns that tell the rows of the sweep apart."""
    kinds = axis_kinds(rows.run.sweep)
    return identity_columns(kinds) if kinds else ()


def table_columns(rows: RunRows, view: View) -> list[Column]:
    """Return the columns of a table of rows: axes and verdicts first, nothing that is the same in all rows.

    The column that names the image is none of them: it is the link before the others.
    """
    columns = rows.columns
    left_out = {*_BOOKKEEPING, key_column(rows)}
    order = dict.fromkeys([*axes(rows), *_LIKELY, *columns])
    # What a view asks for is shown, whether or not it differs.
    asked = {each.column.name for each in view.filters} | ({view.sort.name} if view.sort else set())
    return [
        columns[name]
        for name in order
        if name in columns and name not in left_out and (name in asked or not columns[name].is_constant)
    ]


def constants(rows: RunRows) -> list[tuple[str, str]]:
    """Return the columns that are the same in all rows, with their value, without those that have none."""
    names = rows.run.class_names
    return [
        (name, shown(name, column.ordered_choices[0], names))
        for name, column in rows.columns.items()
        if column.is_constant and column.choices and name not in (FILE, ROW)
    ]


def _control(column: Column, view: View, class_names: Sequence[str]) -> Control:
    options, texts = [], []
    if column.choices is not None:
        options = [
            _option(column.name, text_of(value), shown(column.name, value, class_names), view)
            for value in column.ordered_choices
        ]
        if column.has_nulls:
            options.append(_option(f"is.{column.name}", "null", "none", view))
    else:
        texts = _texts(column, view)
        if column.has_nulls:
            field = f"is.{column.name}"
            options = [_option(field, "null", "none", view), _option(field, "present", "any", view)]
    fields = list(dict.fromkeys([*(each.field for each in options), *(text[0] for text in texts)]))
    active = any(each.column.name == column.name for each in view.filters)
    return Control(column=column, options=options, texts=texts, fields=fields, active=active)


def _option(field: str, value: str, words: str, view: View) -> Option:
    return Option(field=field, value=value, words=words, chosen=value in view.given(field))


def _texts(column: Column, view: View) -> list[tuple[str, str, str, str]]:
    name = column.name
    if not column.is_number:
        return [
            (f"has.{name}", "contains", _given(view, f"has.{name}"), ""),
            (name, "is", _given(view, name), ""),
        ]
    low, high = (shown("", end) for end in (column.low, column.high))
    return [
        (f"from.{name}", "from", _given(view, f"from.{name}"), low),
        (f"to.{name}", "to", _given(view, f"to.{name}"), high),
        (name, "is", _given(view, name), ""),
    ]


def _given(view: View, field: str) -> str:
    given = view.given(field)
    return given[-1] if given else ""
