"""Curves of a quantity by step as inline SVG: a few kilobytes each, coloured by the style sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# In units of the view box.
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 240, 44, 26, 10, 8

# More points than that are not seen at this width.
MOST_POINTS = 160
# As many as the style sheet has colours.
NUM_COLORS = 8


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A polyline: its name, the number of its colour, and its points as SVG spells them."""

    name: str
    color: int
    points: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A place on an axis, in units of the view box, and what stands there."""

    place: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What the template draws."""

    curves: Sequence[Curve]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


def chart(series: Mapping[str, Sequence[float]], *, low: float, high: float) -> Chart:
    """A chart of values by step, whose vertical axis runs from `low` to `high`; what is not finite is left out."""
    num_steps = max((len(values) for values in series.values()), default=0)
    if high <= low:
        low, high = low - 0.5, low + 0.5
    return Chart(
        curves=[
            Curve(name=name, color=number % NUM_COLORS, points=_points(values, num_steps, low, high))
            for number, (name, values) in enumerate(series.items())
        ],
        x_ticks=[Tick(place=_x(step, num_steps), label=f"{step:g}") for step in _ticks(0, num_steps - 1)],
        y_ticks=[Tick(place=_y(value, low, high), label=f"{value:g}") for value in _ticks(low, high)],
    )


def _points(values: Sequence[float], num_steps: int, low: float, high: float) -> str:
    array = np.asarray(values, dtype=float)
    chosen = np.unique(np.linspace(0, len(array) - 1, min(len(array), MOST_POINTS)).round().astype(int))
    kept = [step for step in chosen if np.isfinite(array[step])]
    return " ".join(f"{_x(step, num_steps):.0f},{_y(array[step], low, high):.0f}" for step in kept)


def _x(step: float, num_steps: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, num_steps - 1)


def _y(value: float, low: float, high: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)


def _ticks(low: float, high: float) -> list[float]:
    """Round values between the bounds, about four."""
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 5)
    first = np.ceil(low / step)
    # Without the sum, 0 from below would be -0.
    return [round(number * step, 10) + 0.0 for number in np.arange(first, np.floor(high / step) + 1)]
