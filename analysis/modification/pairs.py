"""How large a change it took, label by target: a table, and two matrices as PNG and as tables of a report."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.drawing.charts import blank_chart, draw_heatmap, name_ticks, style_axes
from analysis.drawing.image_grid import EMPTY, RIGHT
from analysis.html.heatmaps import Heading, Heatmap, heatmap
from analysis.html.site import Site
from analysis.intervals import mean_interval
from analysis.modification.rows import names_of
from analysis.run import Run

# Beyond this many labels or targets, matrices show colours alone: a figure has no room for the numbers.
MOST_CLASSES = 20

# Inches.
CELL, NAMES = 0.42, 1.3
_LARGEST_SIDE = 9.0


def modification_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return how large a change it took, by `label` and `target`, with both names.

    `mean`, `low` and `high` (95 %) are of the l2 norm of the change, in pixel units of [0, 1], when the target was
    first predicted, over the `count` images where it was; `reached` is their share of the `num_images`, `kept`
    that of the images that are taken for the target in the end. `final` is the mean norm after all steps, which
    says little about the target: each step moves each pixel.
    """
    names = ["label", "label_name", "target", "target_name"]
    table = []
    for group, rows in frame.groupby(names, observed=True):
        mean, low, high, count = mean_interval(rows["hit_l2"])
        shares = rows["first_hit_step"].notna().mean(), (rows["prediction"] == rows["target"]).mean()
        table.append((*group, mean, low, high, count, *shares, rows["l2"].mean(), len(rows)))
    measured = ["mean", "low", "high", "count", "reached", "kept", "final", "num_images"]
    types = dict.fromkeys(["mean", "low", "high"], float) | {"count": int}
    return pd.DataFrame(table, columns=[*names, *measured]).astype(types)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A column of the table as labels by targets: `shares` in [0, 1] give the colours, `texts` the numbers.

    NaN, with an empty text: no image of the label reached the target.
    """

    title: str
    shares: NDArray[np.float64]
    texts: Sequence[Sequence[str]]


def matrices(table: pd.DataFrame) -> list[Matrix]:
    """Return what figure and report show of a table of `modification_table`, in their order."""
    reached, norms = _pivot(table, "reached"), _pivot(table, "mean")
    largest = float(np.nanmax(norms, initial=0)) or 1.0
    return [
        Matrix(
            title="percent of the images that reached the target",
            shares=reached,
            texts=_texts(100 * reached, "{:.0f}"),
        ),
        Matrix(
            title="l2 norm of the change that reached the target",
            shares=norms / largest,
            texts=_texts(norms, "{:.2f}"),
        ),
    ]


def figure(table: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Draw a table of `modification_table`: the share that reached the target, and the norm when it first did.

    A frame marks the images' own label, where the change is expected to be small.
    """
    labels, targets = names_of(table, "label"), names_of(table, "target")
    width, height = (min(_LARGEST_SIDE, max(2.4, CELL * len(each))) for each in (targets, labels))
    fits = max(len(labels), len(targets)) <= MOST_CLASSES
    page = blank_chart(2 * width + NAMES + 1.6, height + NAMES + 0.9, title=title, notes=notes)
    for place, (axes, matrix) in enumerate(zip(page.subplots(1, 2), matrices(table), strict=True)):
        axes.set_facecolor(EMPTY)
        draw_heatmap(axes, matrix.shares, matrix.texts if fits else None)
        _mark_own(axes, list(labels), list(targets))
        style_axes(axes, title=matrix.title, x="target", y="" if place else "label")
        axes.grid(visible=False)
        name_ticks(axes, "x", list(targets.values()))
        name_ticks(axes, "y", [] if place else list(labels.values()))
    return page


def html(run: Run, site: Site, table: pd.DataFrame, *, title: str) -> Markup:
    """Render the matrices of a table of `modification_table`; the figure stands for those of many classes."""
    labels, targets = names_of(table, "label"), names_of(table, "target")
    fits = max(len(labels), len(targets)) <= MOST_CLASSES
    return site.render(
        "modification_pairs.html",
        run=run,
        heatmaps=[_heatmap(matrix, labels, targets) for matrix in matrices(table)] if fits else [],
        figure=site.figure(f"{run.id}/modifications.png", figure(table, title=title)),
    )


def _pivot(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column of the table as `[labels, targets]`, NaN where the table has no value."""
    values = table.pivot(index="label", columns="target", values=column)
    ordered = values.reindex(index=[*names_of(table, "label")], columns=[*names_of(table, "target")])
    return ordered.to_numpy(np.float64)


def _texts(values: NDArray[np.float64], form: str) -> list[list[str]]:
    return [["" if np.isnan(value) else form.format(value) for value in row] for row in values]


def _mark_own(axes: Axes, labels: Sequence[int], targets: Sequence[int]) -> None:
    for row, label in enumerate(labels):
        if label in targets:
            corner = (targets.index(label) - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=RIGHT, linewidth=1.4))


def _heatmap(matrix: Matrix, labels: dict[int, str], targets: dict[int, str]) -> Heatmap:
    return heatmap(
        pd.DataFrame(matrix.shares, index=[*labels], columns=[*targets]),
        lambda row, column: matrix.texts[row][column],
        corner="Label",
        columns=[
            Heading(text=str(index), more=name.removeprefix(f"{index} ")) for index, name in targets.items()
        ],
        rows=[Heading(text=name) for name in labels.values()],
        mark_own=True,
    )
