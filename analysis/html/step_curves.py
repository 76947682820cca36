"""Curves of a quantity by step as inline SVG: a few kilobytes each, coloured by the style sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# In units of the view box.
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 240, 44, 26, 10, 8

# More points than that are not seen at this width.
MOST_POINTS = 160
# As many as the style sheet has colours.
NUM_COLORS = 8


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A polyline: its name, the number of its colour, and its points in the syntax of SVG.

    `band` is the outline of its interval, `level` the height of a line that it is compared with.
    """

    name: str
    color: int
    points: str
    band: str = ""
    level: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A tick of an axis: its place in units of the view box, and its label."""

    place: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart for the template."""

    curves: Sequence[Curve]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


def chart(
    series: Mapping[str, Sequence[float]],
    *,
    low: float,
    high: float,
    steps: Sequence[int] | None = None,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    levels: Mapping[str, float] | None = None,
) -> Chart:
    """Return a chart of values by step, with a vertical axis from `low` to `high`; only finite values are drawn.

    The values of all series are of these `steps`, of 0, 1, 2 … unless given. `bands` are the lower and upper
    bounds of a series, by its name, `levels` values that it is compared with.
    """
    num_values = max((len(values) for values in series.values()), default=0)
    places = range(num_values) if steps is None else steps
    if high <= low:
        low, high = low - 0.5, low + 0.5
    axes = _Axes(places=np.asarray(places, dtype=float), low=low, high=high)
    return Chart(
        curves=[
            Curve(
                name=name,
                color=number % NUM_COLORS,
                points=" ".join(axes.points(values)),
                band=axes.band(*(bands or {}).get(name, ([], []))),
                level=axes.y(levels[name]) if levels and name in levels else None,
            )
            for number, (name, values) in enumerate(series.items())
        ],
        x_ticks=[Tick(place=axes.x(step), label=f"{step:,g}") for step in _ticks(0, axes.last)],
        y_ticks=[Tick(place=axes.y(value), label=f"{value:g}") for value in _ticks(low, high)],
    )


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """From steps and values to units of the view box; the value at each index is of the step in `places`."""

    places: NDArray[np.float64]
    low: float
    high: float

    @property
    def last(self) -> float:
        return float(self.places.max(initial=0))

    def points(self, values: Sequence[float]) -> list[str]:
        array = np.asarray(values, dtype=float)
        chosen = np.unique(np.linspace(0, len(array) - 1, min(len(array), MOST_POINTS)).round().astype(int))
        finite = [index for index in chosen if np.isfinite(array[index])]
        return [f"{self.x(self.places[index]):.0f},{self.y(array[index]):.0f}" for index in finite]

    def band(self, lower: Sequence[float], upper: Sequence[float]) -> str:
        """Return the outline of the area between two curves: along the lower one, and back along the upper one."""
        return " ".join([*self.points(lower), *reversed(self.points(upper))])

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, self.last)

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low)


def _ticks(low: float, high: float) -> list[float]:
    """Return about four round values between the bounds."""
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 5)
    first = np.ceil(low / step)
    # Without the sum, 0 from below would be -0.
    return [round(number * step, 10) + 0.0 for number in np.arange(first, np.floor(high / step) + 1)]
