"""How often values of a column of numbers occur among the rows of a view, as bars that lead to their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.html.formatting import count
from analysis.serve.database import quoted
from analysis.serve.rows import RunRows
from analysis.serve.view import View, text_of

NUM_BINS = 40

# The drawing, in the units of its view box: 640 wide, 240 high.
LEFT, RIGHT, TOP, BOTTOM = 64, 626, 12, 204


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar: its place in the drawing, what it stands for in words, and the query of its rows."""

    x: float
    y: float
    width: float
    height: float
    words: str
    link: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Bars, the largest number of rows, ticks below, and how many rows have no finite value."""

    name: str
    bars: Sequence[Bar]
    most: int
    ticks: Sequence[tuple[float, str]]
    num_left_out: int


def histogram(rows: RunRows, view: View) -> Histogram | None:
    """Return the histogram that a view asks for; None if it asks for none, or none of its rows has a value."""
    column = view.histogram
    if column is None:
        return None
    where, parameters = view.where()
    name = quoted(column.name)
    finite = f"isfinite({name})" if column.kind == "real" else f"{name} IS NOT NULL"
    low, high, num, every = _one(
        rows,
        f"SELECT min({name}) FILTER (WHERE {finite}), max({name}) FILTER (WHERE {finite}), "
        f"count(*) FILTER (WHERE {finite}), count(*) FROM {rows.source} {where}",
        parameters,
    )
    if not num:
        return None
    edges = _edges(low, high, whole=column.kind == "integer")
    width, last = edges[1] - edges[0], len(edges) - 2
    # Whole in double: the difference of the largest and smallest integer is no integer of the column.
    found = rows.answer(
        f"SELECT CAST(least(floor((CAST({name} AS DOUBLE) - ?) / ?), ?) AS INTEGER) AS bin, count(*), "
        f"min({name}), max({name}) "
        f"FROM {rows.source} {where or 'WHERE true'} AND {finite} GROUP BY bin",
        [float(edges[0]), float(width), last, *parameters],
    )
    return _drawn(view, edges, {place: tuple(facts) for place, *facts in found}, every - num)


def _edges(low: float, high: float, *, whole: bool) -> list[float]:
    """Return the ends of the bins: of integers each a bin if they are few, else bins of as many integers."""
    if whole:
        width = max(1, -(-(int(high) - int(low) + 1) // NUM_BINS))
        num = -(-(int(high) - int(low) + 1) // width)
        return [int(low) + width * place for place in range(num + 1)]
    if low == high:
        return [low, low + (abs(low) or 1.0) * 1e-6]
    return [low + (high - low) * place / NUM_BINS for place in range(NUM_BINS)] + [high]


def _drawn(
    view: View, edges: Sequence[float], found: dict[int, tuple[Any, ...]], num_left_out: int
) -> Histogram:
    column = view.histogram
    assert column is not None
    most, bins = max(number for number, _, _ in found.values()), len(edges) - 1
    step = (RIGHT - LEFT) / bins
    bars = []
    for place, (number, least, largest) in sorted(found.items()):
        height = max(1.0, (BOTTOM - TOP) * number / most)
        first, last = edges[place], edges[place + 1] - (1 if column.kind == "integer" else 0)
        if first == last:
            words, ends = f"{first:,}", [(column.name, text_of(first))]
        else:
            words = f"{first:.4g} to {last:.4g}"
            ends = [(f"from.{column.name}", text_of(least)), (f"to.{column.name}", text_of(largest))]
        taken_away = (column.name, f"from.{column.name}", f"to.{column.name}", f"is.{column.name}")
        bars.append(
            Bar(
                x=LEFT + step * place,
                y=BOTTOM - height,
                width=max(1.0, step - 1),
                height=height,
                words=f"{words}: {count(number, 'row')}",
                link=view.link(*ends, without=taken_away),
            )
        )
    shown = sorted({0, bins // 2, bins})
    ticks = [(LEFT + step * place, f"{edges[place]:.4g}") for place in shown]
    if column.kind == "integer" and edges[1] - edges[0] == 1:
        # A bin is one integer: its name stands below its middle.
        ticks = [
            (LEFT + step * (place + 0.5), f"{edges[place]:,}")
            for place in sorted({0, (bins - 1) // 2, bins - 1})
        ]
    return Histogram(name=column.name, bars=bars, most=most, ticks=ticks, num_left_out=num_left_out)


def _one(rows: RunRows, sql: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
    [found] = rows.answer(sql, parameters)
    return found
