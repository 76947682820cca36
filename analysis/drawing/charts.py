"""Charts: a page with a title, axes of ε, curves with their intervals, heatmaps, legends and ticks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from analysis.drawing.image_grid import (
    DOTS_PER_INCH,
    LINE_HEIGHT,
    MARGIN,
    NAME,
    NOTE,
    TITLE,
    TITLE_HEIGHT,
    TextStyle,
)
from analysis.drawing.labels import FONT_FAMILY, fit_label

# Colours that readers with colour blindness can distinguish (Okabe and Ito 2008); markers distinguish them too.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1f2328", "#8a6d3b", "#7a7a7a")
_MARKERS = "osD^vP*Xh"
_GRID = "#d9dde1"

# The linear part of an axis of ε, from 0 to the smallest ε, in decades.
_LINEAR_DECADES = 0.5
_MOST_TICKS = 12
# From this share on, a cell of a heatmap is dark.
_DARK = 0.68
_MOST_NAMES = 40
# Inches of a legend's column, its line included.
_LEGEND_WIDTH = 1.7
_NAME_WIDTH = 0.9


def blank_chart(width: float, height: float, *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Return a page of this size in inches with its title and notes; axes that are added fill the rest."""
    top = MARGIN + TITLE_HEIGHT + len(notes) * LINE_HEIGHT
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    figure.set_layout_engine("constrained", rect=(0.01, 0.01, 0.98, 1 - top / height - 0.01))
    _write(figure, title, MARGIN, TITLE)
    for line, note in enumerate(notes):
        _write(figure, note, MARGIN + TITLE_HEIGHT + line * LINE_HEIGHT, NOTE)
    return figure


def styles(names: Sequence[str], *, markers: bool = True) -> dict[str, dict[str, str]]:
    """Return colour and marker of each name: the same name looks the same in every panel of a figure."""
    return {
        name: {
            "color": _COLORS[index % len(_COLORS)],
            "marker": _MARKERS[index % len(_MARKERS)] if markers else "",
        }
        for index, name in enumerate(names)
    }


def style_axes(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Give axes small type, a pale grid and pale edges; no character of a text has a special meaning."""
    axes.tick_params(labelsize=NOTE.size, labelcolor=NOTE.color, color=_GRID, which="both")
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_color(_GRID)
    axes.set_title(_fit(title, axes_width(axes), NAME), loc="left", **_font(NAME))
    axes.set_xlabel(x, **_font(NOTE))
    axes.set_ylabel(y, **_font(NOTE))


def share_axis(axes: Axes) -> None:
    """Make the y axis run from 0 to 100 %."""
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def difference_axis(axes: Axes) -> None:
    """Make the y axis one of signed percentage points, with a line at 0 in the middle."""
    farthest = max(0.05, *(abs(limit) for limit in axes.get_ylim()))
    axes.set_ylim(-farthest, farthest)
    # At whole points, so that labels are not rounded.
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.0f}" if value else "0"))
    axes.axhline(0, color=NOTE.color, linewidth=0.8, zorder=1)


def epsilon_axis(axes: Axes, smallest: float, largest: float) -> None:
    """Draw an x axis of ε · 255, linear up to the smallest positive ε and logarithmic beyond; ε itself on top.

    `smallest` and `largest` are ε in [0, 1] pixel space.
    """
    low, high = smallest * 255, max(largest * 255, 2 * smallest * 255)
    doubled = 2.0 ** np.arange(np.ceil(np.log2(low) - 1e-9), np.floor(np.log2(high) + 1e-9) + 1)
    ticks = doubled[:: -(-len(doubled) // _MOST_TICKS)]
    limits = (-0.08 * low, high * 1.15)
    _symlog(axes, low, limits, [0, *ticks])
    axes.set_xlabel("ε in steps of 8-bit images (1/255)", **_font(NOTE))
    top = axes.twiny()
    decades = 10.0 ** np.arange(np.ceil(np.log10(low / 255) - 1e-9), 1)
    _symlog(top, low / 255, (limits[0] / 255, limits[1] / 255), [0, *decades[decades <= limits[1] / 255]])
    style_axes(top, x="ε in [0, 1] pixel space")
    top.grid(visible=False)


def length_axis(axes: Axes, smallest: float, largest: float, *, name: str) -> None:
    """Draw an x axis of an ε that is a length in the norm of this name, linear up to the smallest positive one.

    Where pixels are in [0, 1], a step of 8-bit images has no meaning for the length of a whole perturbation.
    """
    high = max(largest, 2 * smallest)
    _symlog(axes, smallest, (-0.08 * smallest, high * 1.15), [0, *round_lengths(smallest, high, _MOST_TICKS)])
    axes.set_xlabel(f"ε: {name} of the change, pixels in [0, 1]", **_font(NOTE))


def round_lengths(low: float, high: float, most: int) -> list[float]:
    """Return 1, 2 and 5 times powers of ten between two positive numbers; only the powers where those are many."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    chosen: list[float] = []
    for digits in ((1, 2, 5), (1, 3), (1,)):
        values = np.outer(powers, digits).ravel()
        chosen = [float(f"{value:.1g}") for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(chosen) <= most:
            break
    return chosen


def draw_curve(
    axes: Axes, curve: pd.DataFrame, *, label: str, steps: bool = False, unit: float = 1 / 255, **style: str
) -> None:
    """Draw `rate` over `epsilon` of a table, in units of 8-bit steps, with a band from `low` to `high`.

    With `steps` a rate holds up to the next ε.
    """
    x, kind = curve["epsilon"] / unit, "post" if steps else None
    drawstyle = "steps-post" if steps else "default"
    axes.plot(x, curve["rate"], label=label, linewidth=1.3, markersize=3.5, drawstyle=drawstyle, **style)
    axes.fill_between(
        x, curve["low"], curve["high"], color=style["color"], alpha=0.15, linewidth=0, step=kind
    )


def draw_legend(axes: Axes) -> None:
    """Write the names of the curves where they hide least."""
    legend = axes.legend(loc="best", fontsize=NOTE.size, frameon=True, framealpha=0.85, edgecolor=_GRID)
    for text in legend.get_texts():
        text.set_text(_fit(text.get_text(), axes_width(axes) / 2, NOTE))
        text.set(parse_math=False, usetex=False, family=FONT_FAMILY)


def legend_below(page: Figure, names: Sequence[str], *, most_across: int = 4) -> None:
    """Write the names of the curves below all panels of a page, where they hide nothing."""
    handles: dict[str, Artist] = {}
    for axes in page.axes:
        found, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    drawn = [name for name in names if name in handles]
    if not drawn:
        return
    room = page.get_figwidth() - 2 * MARGIN
    across = max(1, min(len(drawn), most_across, int(room / _LEGEND_WIDTH)))
    width = room / across - 0.6
    legend = page.legend(
        [handles[name] for name in drawn],
        [_fit(name, width, NOTE) for name in drawn],
        loc="outside lower left",
        ncols=across,
        fontsize=NOTE.size,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set(parse_math=False, usetex=False, family=FONT_FAMILY)


def draw_heatmap(axes: Axes, shares: NDArray[np.float64], numbers: ArrayLike | None = None) -> None:
    """Draw shares `[rows, columns]` in [0, 1] as colours, NaN without one, with `numbers` in the cells if given.

    A cell whose number is an empty text stays empty. `name_ticks` names the rows and columns.
    """
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    if numbers is None:
        return
    for (row, column), number in np.ndenumerate(np.asarray(numbers, dtype=str)):
        if number and not np.isnan(shares[row, column]):
            color = "white" if shares[row, column] > _DARK else NAME.color
            style = {"size": NOTE.size - 1, "color": color, "family": FONT_FAMILY}
            # Inside the axes: measuring them for the layout would take as long as drawing them.
            axes.text(column, row, number, ha="center", va="center", in_layout=False, **style)


def name_ticks(axes: Axes, which: str, names: Sequence[str], *, width: float = _NAME_WIDTH) -> None:
    """Write names at 0, 1, 2 … along an axis; every second or third if there are too many.

    A name wider than `width`, in inches, ends in an ellipsis.
    """
    positions = range(0, len(names), max(1, -(-len(names) // _MOST_NAMES)))
    shown = [_fit(names[position], width, NOTE) for position in positions]
    if which == "x":
        axes.set_xticks(positions, shown, rotation=90, **_font(NOTE))
    else:
        axes.set_yticks(positions, shown, **_font(NOTE))


def _symlog(axes: Axes, linear: float, limits: tuple[float, float], ticks: Sequence[float]) -> None:
    axes.set_xscale("symlog", linthresh=linear, linscale=_LINEAR_DECADES)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(limits)


def axes_width(axes: Axes) -> float:
    """Return the width of a panel in inches: its share of the page."""
    figure, grid = axes.get_figure(), axes.get_subplotspec()
    width = float(figure.get_figwidth()) - 2 * MARGIN  # type: ignore[union-attr]
    return width if grid is None else width * len(grid.colspan) / grid.get_gridspec().ncols - 0.6


def _write(figure: Figure, text: str, top: float, style: TextStyle) -> None:
    width, height = figure.get_size_inches()
    y = 1 - (top + style.size / 72) / height
    figure.text(MARGIN / width, y, _fit(text, width - 2 * MARGIN, style), va="baseline", **_font(style))


def _fit(text: str, width: float, style: TextStyle) -> str:
    return fit_label(
        text, width=width * DOTS_PER_INCH, dpi=DOTS_PER_INCH, font_size=style.size, weight=style.weight
    )


def _font(style: TextStyle) -> dict[str, object]:
    return {
        "family": FONT_FAMILY,
        "size": style.size,
        "color": style.color,
        "weight": style.weight,
        "parse_math": False,
        "usetex": False,
    }
