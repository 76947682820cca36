"""Which rows a page of a table shows: also one far behind in the order of any column, without sorting all rows."""

from collections.abc import Sequence
from typing import Any

from analysis.serve.database import quoted
from analysis.serve.rows import PLACE, RunRows
from analysis.serve.view import View

PAGE_ROWS = 50

# The first rows of an order are found in one pass; the later the page, the more that pass has to hold.
_FAR = 20_000
# One row of so many is looked at to guess where a page far behind begins.
_SAMPLED = 997
# The guess is off by no more than so many rows of the sample: many times the deviation of a random one.
_MARGIN = 250


def order_by(view: View) -> str:
    """Return the ORDER BY of all rows of a view, for a file: as `page_of_rows` has them."""
    # Without an order rows come as they were read: shard by shard, new ones last.
    return "" if view.sort is None else f"ORDER BY {_key(view)} NULLS LAST, {quoted(PLACE)}"


def page_of_rows(rows: RunRows, view: View, num_rows: int) -> list[dict[str, Any]]:
    """Return the rows of the page that a view asks for, in its order; `num_rows` are those of all pages."""
    places = _places(rows, view, num_rows)
    # The columns of so few rows are read by their place, whatever the condition that found them.
    cursor = rows.query(
        f"SELECT * FROM {rows.source} WHERE {quoted(PLACE)} IN (SELECT unnest(?::BIGINT[]))", [places]
    )
    names = [each[0] for each in cursor.description or ()]
    found = [dict(zip(names, line, strict=True)) for line in cursor.fetchall()]
    order = {place: number for number, place in enumerate(places)}
    return sorted(found, key=lambda row: order[row[PLACE]])


def _places(rows: RunRows, view: View, num_rows: int) -> list[int]:
    first = (view.page - 1) * PAGE_ROWS
    if view.sort is not None and first > _FAR and (found := _places_between(rows, view, num_rows)):
        return found
    where, parameters = view.where()
    return _fetched(rows, where, parameters, order_by(view), first)


def _places_between(rows: RunRows, view: View, num_rows: int) -> list[int]:
    """Return the places of a page by sorting the rows near it; none if they are not where a sample has them.

    Values of a sample that surely enclose the page are looked up, the rows before them counted, and only those
    between them sorted.
    """
    assert view.sort is not None
    where, parameters = view.where()
    also = f"{where} AND" if where else "WHERE"
    name, first = quoted(view.sort.name), (view.page - 1) * PAGE_ROWS
    [(num_known,)] = rows.answer(f"SELECT count({name}) FROM {rows.source} {where}", parameters)
    drawn = rows.answer(
        f"SELECT {name} FROM {rows.source} {also} {name} IS NOT NULL "
        f"AND hash({quoted(PLACE)}) % {_SAMPLED} = 0 ORDER BY {_key(view)}",
        parameters,
    )
    guess = len(drawn) * first // max(1, num_known)
    if guess < _MARGIN or guess + _MARGIN >= len(drawn):
        return []
    ends = [drawn[guess - _MARGIN][0], drawn[guess + _MARGIN][0]]
    before, until = (">", ">=") if view.descending else ("<", "<=")
    between = f"NOT ({name} {before} ?) AND {name} {until} ?"
    [(num_before, num_between)] = rows.answer(
        f"SELECT count(*) FILTER (WHERE {name} {before} ?), count(*) FILTER (WHERE {between}) "
        f"FROM {rows.source} {where}",
        [ends[0], *ends, *parameters],
    )
    if num_before > first or num_before + num_between < min(first + PAGE_ROWS, num_rows):
        return []
    return _fetched(rows, f"{also} {between}", [*parameters, *ends], order_by(view), first - num_before)


def _fetched(rows: RunRows, where: str, parameters: Sequence[Any], order: str, first: int) -> list[int]:
    found = rows.query(
        f"SELECT {quoted(PLACE)} FROM {rows.source} {where} {order} LIMIT {PAGE_ROWS} OFFSET ?",
        [*parameters, first],
    ).fetchall()
    return [place for (place,) in found]


def _key(view: View) -> str:
    assert view.sort is not None
    return f"{quoted(view.sort.name)} {'DESC' if view.descending else 'ASC'}"
