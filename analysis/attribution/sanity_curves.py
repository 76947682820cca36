"""Curves of the sanity check: similarity to the trained network's maps against the number of layers re-drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.attribution.checkpoints import TRAINED, num_redrawn
from analysis.attribution.map_similarity import MEASURES
from analysis.attribution.verdicts import Verdict, redrawn_checkpoints, verdicts
from analysis.drawing.charts import blank_chart, style_axes, styles
from analysis.drawing.image_grid import NOTE
from analysis.drawing.labels import FONT_FAMILY
from analysis.html.step_curves import LEFT, RIGHT, WIDTH, Chart, Tick, chart

NUM_ACROSS = 3


@dataclass(frozen=True, kw_only=True)
class MethodCurve:
    """Similarity to the trained network's maps by layers re-drawn: a row per checkpoint, a column per measure.

    `low` and `high` are 95 % bounds, `chance` is the similarity by chance. The trained network itself comes first.
    """

    verdict: Verdict
    labels: Sequence[str]
    mean: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    chance: pd.DataFrame

    @property
    def summary(self) -> str:
        """What the curves show, in words."""
        mean, chance = self.mean.iloc[-1], self.chance.iloc[-1]
        ends = [
            f"{name} falls from 1 to {mean[measure]:.2f}, by chance {chance[measure]:.2f}"
            for measure, name in MEASURES.items()
            if not np.isnan(mean[measure])
        ]
        return f"{self.verdict.method}: with {self.labels[-1]} layers re-drawn, {'; '.join(ends)}"


def method_curves(table: pd.DataFrame, methods: Sequence[str] | None = None) -> list[MethodCurve]:
    """Return what is drawn of a table of `similarity_table`: of each method with maps of re-drawn networks."""
    found = []
    for verdict in verdicts(table, methods):
        rows = table[table["method"] == verdict.method]
        checkpoints = redrawn_checkpoints(rows)
        if not checkpoints:
            continue
        wide = {
            name: rows.pivot(index="checkpoint", columns="measure", values=name).loc[
                checkpoints, list(MEASURES)
            ]
            for name in ("mean", "low", "high", "chance")
        }
        # The trained network's map is like itself; what it is like by chance is not asked.
        itself = pd.DataFrame(1.0, index=[TRAINED], columns=list(MEASURES))
        first = {name: itself if name != "chance" else itself * np.nan for name in wide}
        found.append(
            MethodCurve(
                verdict=verdict,
                labels=["0", *(_label(name) for name in checkpoints)],
                **{name: pd.concat([first[name], each]) for name, each in wide.items()},
            )
        )
    return found


def sanity_figure(
    table: pd.DataFrame, *, title: str, methods: Sequence[str] | None = None, notes: Sequence[str] = ()
) -> Figure:
    """Return the figure of a table of `similarity_table`: a panel per method, a line per measure."""
    curves = method_curves(table, methods)
    # Without any curve the figure has a panel that is not shown.
    num_down = max(1, -(-len(curves) // NUM_ACROSS))
    num_across = max(1, min(NUM_ACROSS, len(curves)))
    figure = blank_chart(3.4 * num_across + 0.4, 2.5 * num_down + 1.1, title=title, notes=notes)
    grid = figure.subplots(num_down, num_across, squeeze=False)
    look = styles(list(MEASURES))
    for axes, curve in zip(grid.flat, curves, strict=False):
        for measure in MEASURES:
            _draw(axes, curve, measure, look[measure])
        style_axes(
            axes, title=f"{curve.verdict.method}: {curve.verdict.verdict}", x="layers re-drawn, from the last"
        )
        axes.set_xticks(range(len(curve.labels)), curve.labels)
        axes.set_ylim(min(-0.1, float(curve.low.min(axis=None)) - 0.02), 1.05)
    for axes in list(grid.flat)[len(curves) :]:
        axes.set_visible(False)
    handles = [grid.flat[0].plot([], [], **look[measure], markersize=4)[0] for measure in MEASURES]
    handles.append(grid.flat[0].plot([], [], ":", color=NOTE.color)[0])
    figure.legend(
        handles, [*MEASURES.values(), "by chance"], loc="outside lower left", ncols=len(handles), frameon=False,
        prop={"size": NOTE.size, "family": FONT_FAMILY},
    )  # fmt: skip
    return figure


def _label(checkpoint: str) -> str:
    number = num_redrawn(checkpoint)
    return "all" if number is None or np.isinf(number) else str(int(number))


def _draw(axes: Axes, curve: MethodCurve, measure: str, look: dict[str, str]) -> None:
    x = np.arange(len(curve.labels))
    axes.plot(x, curve.mean[measure], **look, markersize=4, linewidth=1.2)
    axes.fill_between(
        x, curve.low[measure], curve.high[measure], color=look["color"], alpha=0.15, linewidth=0
    )
    axes.plot(x, curve.chance[measure], ":", color=look["color"], linewidth=1)


def svg_chart(curve: MethodCurve) -> Chart:
    """Return the chart of a method for a page: a line per measure with its band, and the level by chance."""
    drawn = chart(
        {name: curve.mean[measure].tolist() for measure, name in MEASURES.items()},
        low=min(-0.1, float(curve.low.min(axis=None))),
        high=1,
        bands={
            name: (curve.low[measure].tolist(), curve.high[measure].tolist())
            for measure, name in MEASURES.items()
        },
        levels={
            name: float(curve.chance[measure].iloc[-1])
            for measure, name in MEASURES.items()
            if not np.isnan(curve.chance[measure].iloc[-1])
        },
    )
    last = max(1, len(curve.labels) - 1)
    ticks = [
        Tick(place=LEFT + (WIDTH - LEFT - RIGHT) * place / last, label=label)
        for place, label in enumerate(curve.labels)
    ]
    return replace(drawn, x_ticks=ticks)
