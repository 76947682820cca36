"""What the templates need of a view: its table of rows, its filters in words, the lines of its summary."""

from collections.abc import Mapping
from typing import Any

from analysis.serve.controls import table_columns
from analysis.serve.formatting import shown
from analysis.serve.images import key_column
from analysis.serve.order import PAGE_ROWS, page_of_rows
from analysis.serve.rows import RunRows
from analysis.serve.summary import Summary, summary
from analysis.serve.view import BadQuery, Filter, View, text_of

MOST_GROUPS_SHOWN = 200


def table_of_rows(rows: RunRows, view: View) -> dict[str, Any]:
    """Return what a table of the rows of a view needs. Raises BadQuery for a page behind the last."""
    where, parameters = view.where()
    [(num_rows,)] = rows.answer(f"SELECT count(*) FROM {rows.source} {where}", parameters)
    num_pages = max(1, -(-num_rows // PAGE_ROWS))
    if view.page > num_pages:
        raise BadQuery(f"page is {str(view.page)!r}: these rows have pages 1 to {num_pages:,}")
    return {
        "rows": rows,
        "run": rows.run,
        "view": view,
        "num_rows": num_rows,
        "num_pages": num_pages,
        "columns": table_columns(rows, view),
        "found": page_of_rows(rows, view, num_rows),
        "key_name": key_column(rows),
        "chips": [_chip(rows, view, each) for each in view.filters],
    }


def summary_of_rows(rows: RunRows, view: View) -> dict[str, Any]:
    """Return what a summary needs; a question that it cannot answer is its `error`."""
    nothing: dict[str, Any] = {"error": "", "found": None, "lines": [], "num_groups": 0}
    try:
        found = summary(rows, view)
    except BadQuery as error:
        return nothing | {"error": str(error)}
    if found is None:
        return nothing
    lines = [
        _group(rows, view, found, line) for line in found.table.head(MOST_GROUPS_SHOWN).to_dict("records")
    ]
    return nothing | {"found": found, "lines": lines, "num_groups": len(found.table)}


def _chip(rows: RunRows, view: View, one: Filter) -> dict[str, str]:
    """Return a filter in words, and the query without it."""
    names = rows.run.class_names
    values = ", ".join(
        "none" if value is None else shown(one.column.name, value, names) for value in one.values
    )
    verb = {"among": "is", "from": "≥", "to": "≤", "has": "contains", "present": "is there"}[one.test]
    return {"words": f"{one.column.name} {verb} {values}".rstrip(), "link": view.link(without=one.names)}


def _group(rows: RunRows, view: View, found: Summary, line: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a line of the summary: its group in words, its numbers, and the query of its rows."""
    gone, ends = [], []
    for name in found.by:
        gone += [name, f"is.{name}"]
        missing = line[name] is None or line[name] != line[name]
        ends.append((f"is.{name}", "null") if missing else (name, text_of(line[name])))
    words = [shown(name, line[name], rows.run.class_names) for name in found.by]
    numbers_ = {name: line[name] for name in ("value", "low", "high", "count")}
    return {"words": words, "link": view.link(*ends, without=gone), **numbers_}
