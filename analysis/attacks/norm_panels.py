"""Panels of curves against ε, each in the norm of its attacks, on one page or one part of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.attacks.curves import epsilon_range
from analysis.attacks.norms import NAMES, ORDER
from analysis.drawing.charts import (
    blank_chart,
    difference_axis,
    draw_curve,
    epsilon_axis,
    legend_below,
    length_axis,
    share_axis,
    style_axes,
    styles,
)
from analysis.html.epsilon_charts import ChartGroup, Scale, chart_group

WIDTH, HEIGHT, NUM_ACROSS, NARROWEST = 4.6, 3.3, 2, 6.5
LEGEND_ROW = 0.18

# What a method is held against looks alike on every page, and unlike a method.
WORST, CLEAN = "worst case", "clean accuracy"
_LOOK = {
    WORST: {"color": "#1f2328", "marker": "", "linestyle": "--"},
    CLEAN: {"color": "#7a7a7a", "marker": "", "linestyle": ":"},
}

# A curve of more points is drawn without markers.
_MOST_MARKERS = 30


@dataclass(frozen=True, kw_only=True)
class NormPanel:
    """Curves of a `rate` with `low` and `high` over an `epsilon` in one norm, by name."""

    title: str
    norm: str
    curves: Mapping[str, pd.DataFrame]


def figure(
    panels: Sequence[NormPanel], *, title: str, y: str, notes: Sequence[str] = (), signed: bool = False
) -> Figure:
    """Draw the panels; a name looks alike in all of them. `signed`: rates are differences in [-1, 1]."""
    names = _names(panels)
    look = styles([name for name in names if name not in _LOOK]) | _LOOK
    across = min(len(panels), NUM_ACROSS)
    rows = -(-len(panels) // across)
    height = rows * HEIGHT + 0.5 + 0.15 * len(notes) + LEGEND_ROW * (1 + len(names) // 4)
    page = blank_chart(max(NARROWEST, across * WIDTH), height, title=title, notes=notes)
    grid = page.subplots(rows, across, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, panel, look, _range(panels, panel.norm), y)
        if signed:
            difference_axis(axes)
        else:
            share_axis(axes)
    for axes in grid[len(panels) :]:
        axes.remove()
    legend_below(page, names)
    return page


def html(panels: Sequence[NormPanel]) -> list[ChartGroup]:
    """Return the report's charts: a group for each norm, whose panels share an axis."""
    groups = []
    for norm in ORDER:
        chosen = [(panel.title, dict(panel.curves)) for panel in panels if panel.norm == norm]
        if chosen:
            scale = Scale(*_range(panels, norm), length="" if norm == "linf" else NAMES[norm])
            groups.append(
                chart_group(f"{NAMES[norm]} norm", chosen, _names(panels), scale, dashed=tuple(_LOOK))
            )
    return groups


def _draw(
    axes: Axes, panel: NormPanel, look: Mapping[str, dict[str, str]], ends: tuple[float, float], y: str
) -> None:
    # What the methods are held against lies on top of them.
    for name, curve in ((name, panel.curves[name]) for name in look if name in panel.curves):
        style = look[name] | ({} if len(curve) <= _MOST_MARKERS else {"marker": ""})
        draw_curve(axes, curve, label=name, unit=1 / 255 if panel.norm == "linf" else 1, **style)
    style_axes(axes, title=panel.title, y=y)
    if panel.norm == "linf":
        epsilon_axis(axes, *ends)
    else:
        length_axis(axes, *ends, name=NAMES[panel.norm])


def _names(panels: Sequence[NormPanel]) -> list[str]:
    """Return the names of all curves: the methods, then what they are held against."""
    names = dict.fromkeys(name for panel in panels for name in panel.curves)
    return [*(name for name in names if name not in _LOOK), *(name for name in _LOOK if name in names)]


def _range(panels: Sequence[NormPanel], norm: str) -> tuple[float, float]:
    """Return the ends of the axis of a norm. A few images with a tiny minimum do not stretch it."""
    curves = [curve["epsilon"] for panel in panels if panel.norm == norm for curve in panel.curves.values()]
    smallest, largest = epsilon_range(pd.concat(curves))
    asked = [curve for curve in curves if len(curve) <= _MOST_MARKERS]
    if asked and (pd.concat(asked) > 0).any():
        return epsilon_range(pd.concat(asked))
    return max(smallest, largest / 2000), largest
