"""Curves of a rate against ε as inline SVG, with their intervals: coloured by the style sheet, light and dark."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.drawing.charts import round_lengths
from analysis.html.choices import evenly
from analysis.html.step_curves import NUM_COLORS, Tick

# In units of the view box.
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 320, 64, 56, 12, 14

# A step curve of more points looks the same; fewer carry markers.
MOST_POINTS, MOST_MARKERS = 200, 30
MOST_LINES = 16

# The axis is linear from 0 to the smallest ε, for this many decades of what follows.
_LINEAR_DECADES = 0.5
_MOST_TICKS = 11
# A length such as 0.002 is wider than a number of steps, and the letters grow where the screen is narrow.
_MOST_LENGTHS = 6

# Paths around a point: lines are told apart without their colours.
_MARKERS = (
    "m-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "m-3.6,-3.6h7.2v7.2h-7.2z",
    "m0,-4.6l4.4,7.8h-8.8z",
    "m0,-5l5,5l-5,5l-5,-5z",
    "m0,4.6l4.4,-7.8h-8.8z",
    "m-5,-1.5h10v3h-10z",
    "m-1.5,-5h3v10h-3z",
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve, its band of intervals and its markers, in the syntax of SVG.

    A `dashed` one is what the others are held against.
    """

    name: str
    color: int
    dashed: bool = False
    points: str
    band: str
    markers: str


@dataclass(frozen=True, kw_only=True)
class EpsilonChart:
    """A chart for the template; `summary` describes it in words, `axis` says what ε is."""

    title: str
    summary: str
    axis: str
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """The name of a line beside its colour and marker."""

    name: str
    color: int
    marker: str
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class ChartGroup:
    """Charts whose lines mean the same; of `num_lines`, those in the legend are drawn."""

    title: str
    charts: Sequence[EpsilonChart]
    legend: Sequence[LegendEntry]
    num_lines: int


@dataclass(frozen=True)
class Scale:
    """An axis of ε, linear up to the smallest positive one and logarithmic beyond; both in [0, 1] pixel space.

    `length` names the norm of an ε that is the length of a whole perturbation; it is not counted in steps of
    pixels.
    """

    smallest: float
    largest: float
    length: str = ""

    @property
    def axis(self) -> str:
        """Return what the axis shows, in words."""
        return f"ε: {self.length} of the change" if self.length else "ε in steps of 8-bit images (1/255)"

    def place(self, epsilon: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where each ε is, in units of the view box; what is beyond the end is at the end."""
        ends = self._stretched(np.array([self._end]))
        shares = np.clip(self._stretched(epsilon) / ends, 0, 1)
        return LEFT + (WIDTH - LEFT - RIGHT) * shares

    def text(self, epsilon: float) -> str:
        """Return ε in words."""
        return f"{epsilon:.3g}" if self.length else f"{255 * epsilon:.3g}/255"

    @property
    def _end(self) -> float:
        return max(self.largest, 2 * self.smallest)

    def _stretched(self, epsilon: NDArray[np.float64]) -> NDArray[np.float64]:
        times = epsilon / self.smallest
        return _LINEAR_DECADES * np.minimum(times, 1) + np.log10(np.maximum(times, 1))

    def ticks(self) -> list[Tick]:
        """Return ticks at 0 and at powers of two of a step of 8-bit images; of a length at round numbers."""
        if self.length:
            lengths = np.array([0.0, *round_lengths(self.smallest, self._end, _MOST_LENGTHS)])
            places = self.place(lengths)
            return [
                Tick(place=float(place), label=f"{length:g}")
                for place, length in zip(places, lengths, strict=True)
            ]
        low, high = np.log2(255 * self.smallest), np.log2(255 * self._end)
        powers = np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
        steps = np.array([0.0, *2.0 ** powers[:: max(1, -(-len(powers) // _MOST_TICKS))]])
        return [
            Tick(place=float(place), label=f"{step:g}")
            for place, step in zip(self.place(steps / 255), steps, strict=True)
        ]


def legend(names: Sequence[str], *, markers: bool = True, dashed: Collection[str] = ()) -> list[LegendEntry]:
    """Return the names of lines with the colours and markers that `epsilon_chart` draws."""
    return [
        LegendEntry(
            name=name,
            color=number % NUM_COLORS,
            marker=_marker(number) if markers and name not in dashed else "",
            dashed=name in dashed,
        )
        for number, name in enumerate(names)
    ]


def chart_group(
    title: str,
    panels: Sequence[tuple[str, Mapping[str, pd.DataFrame]]],
    names: Sequence[str],
    scale: Scale,
    *,
    steps: bool = False,
    dashed: Collection[str] = (),
) -> ChartGroup:
    """Return a chart for each panel, which is a title and curves by name; of many `names` some are drawn.

    Lines that the others are held against are `dashed`.
    """
    known = {name for _, curves in panels for name in curves}
    names = [name for name in names if name in known]
    drawn = evenly(names, MOST_LINES)
    charts = [
        epsilon_chart(curves, drawn, scale, title=panel, steps=steps, dashed=dashed)
        for panel, curves in panels
    ]
    return ChartGroup(
        title=title,
        charts=[chart for chart in charts if chart.lines],
        legend=legend(drawn, markers=not steps, dashed=dashed),
        num_lines=len(names),
    )


def epsilon_chart(
    curves: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    scale: Scale,
    *,
    title: str,
    steps: bool = False,
    dashed: Collection[str] = (),
) -> EpsilonChart:
    """Return a chart of `rate` with `low` and `high` over `epsilon`, a line for each name that has a curve.

    `names` are those of all charts beside it, so that a name looks alike in each. `steps`: a rate holds up to the
    next ε, and beyond the last one to the end of the axis.
    """
    drawn = {
        name: curves[name].sort_values("epsilon").dropna(subset="rate") for name in names if name in curves
    }
    drawn = {name: curve for name, curve in drawn.items() if len(curve)}
    return EpsilonChart(
        title=title,
        summary="; ".join(_summary(name, curve, scale, steps) for name, curve in drawn.items()),
        axis=scale.axis,
        lines=[
            _line(name, names.index(name), curve, scale, steps, name in dashed)
            for name, curve in drawn.items()
        ],
        x_ticks=scale.ticks(),
        y_ticks=[
            Tick(place=float(_height(np.array([share]))[0]), label=f"{share:.0%}".replace("%", " %"))
            for share in (0, 0.25, 0.5, 0.75, 1)
        ],
    )


def _line(name: str, number: int, curve: pd.DataFrame, scale: Scale, steps: bool, dashed: bool) -> Line:
    places = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), MOST_POINTS)).round().astype(int))
    drawn = curve.iloc[places]
    x = scale.place(drawn["epsilon"].to_numpy(float))
    rate, low, high = (_height(drawn[column].to_numpy(float)) for column in ("rate", "low", "high"))
    if steps:
        x = np.append(x.repeat(2)[1:], WIDTH - RIGHT)
        rate, low, high = (values.repeat(2) for values in (rate, low, high))
    marked = "" if steps or dashed or len(drawn) > MOST_MARKERS else _marker(number)
    return Line(
        name=name,
        color=number % NUM_COLORS,
        dashed=dashed,
        points=_pairs(x, rate),
        band=_pairs(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])),
        markers="".join(f"M{pair}{marked}" for pair in _pairs(x, rate).split()) if marked else "",
    )


def _summary(name: str, curve: pd.DataFrame, scale: Scale, steps: bool) -> str:
    first, last = curve.iloc[0], curve.iloc[-1]
    if steps:
        return f"{name} reaches {100 * last['rate']:.1f} %"
    at = [f"{100 * end['rate']:.1f} % at {scale.text(end['epsilon'])}" for end in (first, last)]
    return f"{name} from {at[0]} to {at[1]}" if len(curve) > 1 else f"{name} {at[0]}"


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]


def _height(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def _pairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(x, y, strict=True))
