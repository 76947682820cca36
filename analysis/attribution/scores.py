"""How faithful attributions are: every score that a run holds by method, and the completeness gap.

python -m analysis.attribution.scores RUN --output DIR [--methods NAME,NAME] [--checkpoint NAME] [--compare A,B]

`attribution_scores` and `completeness_gaps` compute the tables; `score_figure` (PNG) and `score_html` (report)
show them in the same order, with the same digits; deletion and insertion on the same axis from 0 to 1.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.attribution.attributions import STATIC, named_rows
from analysis.attribution.checkpoints import TRAINED, one_checkpoint
from analysis.attribution.choice import method_order
from analysis.attribution.measures import MEASURES, Measure, measures_of
from analysis.attribution.method_scores import AREAS, Score, scores_by_method
from analysis.attribution.score_table import (
    QUANTILES,
    attribution_scores,
    completeness_gaps,
    paired_scores,
    path_steps,
)
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, style_axes
from analysis.drawing.image_grid import NOTE
from analysis.drawing.labels import FONT_FAMILY
from analysis.html.site import Site
from analysis.naming import describe
from analysis.run import open_sweep

# The most panels side by side.
NUM_ACROSS = 4

_DOT, _BAR = "#0072b2", "#9ac4e0"
# From this factor between the smallest and the largest value on, an axis is logarithmic.
_WIDE = 50


def score_figure(
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    *,
    title: str,
    methods: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """Return the figure of both tables: a panel per score, and one of the gaps if there are any.

    Each method is a line, from above in the order of `methods`.
    """
    shown, held = scores_by_method(scores, gaps, methods), measures_of(scores)
    panels = max(1, len(held) + (len(gaps) > 0))
    across = min(NUM_ACROSS, panels)
    down = -(-panels // across)
    height = max(2.2, down * (0.28 * len(shown) + 0.8) + 0.8)
    figure = blank_chart(3.4 * across + 1.4, height, title=title, notes=notes)
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in grid[panels:]:
        axes.remove()
    for number, (axes, name) in enumerate(zip(grid, held, strict=False)):
        measure = MEASURES[name]
        _draw_scores(axes, [each.by_measure[name] for each in shown], measure)
        unit = f"median of the {measure.unit}" if measure.statistic == "median" else measure.unit
        style_axes(axes, title=f"{measure.name}: {measure.direction}", x=unit)
        _name_lines(axes, [each.method if number % across == 0 else "" for each in shown])
    if len(gaps):
        with_gap = [each for each in shown if each.gap]
        axes = grid[panels - 1]
        _draw_gaps(axes, [each.gap for each in with_gap])
        style_axes(axes, title="completeness gap", x="sum of the attribution − the target's change")
        _name_lines(axes, [each.method for each in with_gap])
    return figure


def score_html(
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    site: Site,
    folder: str,
    *,
    methods: Sequence[str],
    subject: str,
    checkpoint: str | None = None,
    steps: pd.DataFrame | None = None,
) -> Markup:
    """Write the tables and their figure to a folder of the report, and return the scores as HTML.

    `folder` also begins the anchors; `methods` is the order of the lines; `subject` begins the figure's title. Of
    tables of several checkpoints, those of `checkpoint` are shown; the files hold all.
    """
    one = [_of(each, checkpoint) for each in (scores, gaps, steps) if each is not None]
    figure = score_figure(*one[:2], title=f"{subject}: attribution scores", methods=methods)
    files = [("scores as CSV", site.table(f"{folder}/attribution-scores.csv", scores))]
    if len(gaps):
        files.append(("completeness gaps as CSV", site.table(f"{folder}/completeness-gaps.csv", gaps)))
    files.append(("figure as PNG", site.figure(f"{folder}/attribution-scores.png", figure)))
    held = measures_of(scores)
    return site.render(
        "attribution_scores.html",
        id=folder,
        rows=scores_by_method(*one[:2], methods, *one[2:]),
        areas=[MEASURES[name] for name in held if name in AREAS],
        others=[MEASURES[name] for name in held if name not in AREAS],
        has_gaps=len(gaps) > 0,
        has_steps=steps is not None and len(steps) > 0,
        checkpoint="" if checkpoint in (None, TRAINED) else checkpoint,
        files=files,
    )


def _of(table: pd.DataFrame, checkpoint: str | None) -> pd.DataFrame:
    return table if checkpoint is None else table[table["checkpoint"] == checkpoint]


def _draw_scores(axes: Axes, scores: Sequence[Score], measure: Measure) -> None:
    lines = np.arange(len(scores))
    axes.hlines(lines, [each.low for each in scores], [each.high for each in scores], color=_BAR, linewidth=4)
    axes.plot([each.value for each in scores], lines, "o", color=_DOT, markersize=4)
    for line, score in enumerate(scores):
        if np.isnan(score.value):
            continue
        axes.annotate(
            score.text, (score.value, line), (0, 5), textcoords="offset points", ha="center",
            size=NOTE.size - 1, color=NOTE.color, family=FONT_FAMILY,
            weight="bold" if score.is_best else "normal",
        )  # fmt: skip
    values = np.array([each.value for each in scores])
    if measure.limits:
        axes.set_xlim(*measure.limits)
    elif np.nanmin(values, initial=np.inf) > 0 and np.nanmax(values) > _WIDE * np.nanmin(values):
        axes.set_xscale("log")
    # The first method is the topmost line.
    axes.set_ylim(len(scores) - 0.4, -0.7)


def _draw_gaps(axes: Axes, gaps: Sequence[Mapping[float, float]]) -> None:
    for line, gap in enumerate(gaps):
        low, quarter, middle, three_quarters, high = (gap[quantile] for quantile in QUANTILES)
        axes.hlines(line, low, high, color=_BAR, linewidth=2)
        axes.hlines(line, quarter, three_quarters, color=_BAR, linewidth=6)
        axes.plot(middle, line, "o", color=_DOT, markersize=4)
    axes.axvline(0, color=NOTE.color, linewidth=0.8)
    axes.set_ylim(len(gaps) - 0.4, -0.6)


def _name_lines(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(
        range(len(names)), names, size=NOTE.size, color=NOTE.color, family=FONT_FAMILY, parse_math=False
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables and the figure that the command line asks for, and print their paths."""
    parser = figure_parser("python -m analysis.attribution.scores", "How faithful attributions are.")
    parser.add_argument("--methods", metavar="NAMES", help="these alone, such as gradient,occlusion")
    parser.add_argument(
        "--checkpoint", metavar="NAME", help="that the figure shows; trained, or the only one"
    )
    parser.add_argument("--compare", metavar="A,B", help="two methods, image by image: one more table")
    options = parser.parse_args(arguments)
    run = open_sweep(options.run, STATIC)
    rows = named_rows(run, methods=options.methods.split(",") if options.methods else None)
    shown = one_checkpoint(rows, options.checkpoint)
    scores, gaps, steps = attribution_scores(rows), completeness_gaps(rows), path_steps(rows)
    tables = {"attribution-scores": scores, "completeness-gaps": gaps, "path-steps": steps}
    if options.compare:
        tables["paired-scores"] = paired_scores(rows, *_pair(options.compare))
    for name, table in tables.items():
        if len(table) or name == "attribution-scores":
            for path in save_table(table, options.output, name):
                print(path)
    checkpoint = str(shown["checkpoint"].iloc[0])
    scores, gaps = _of(scores, checkpoint), _of(gaps, checkpoint)
    notes = [
        "dots: means over the images, medians where the axis says so (bold: the best), bars: 95 % intervals"
    ]
    if len(gaps):
        notes.append(
            "completeness gap: median, the middle half (thick) and the middle 90 % (thin) of the images"
        )
    title = f"{describe(shown)}: attribution scores" + (f" of {checkpoint}" if checkpoint != TRAINED else "")
    methods = method_order(run, shown["method"].unique())
    figure = score_figure(scores, gaps, title=title, methods=methods, notes=notes)
    for path in save_pages([("attribution-scores", figure)], options.output):
        print(path)


def _pair(text: str) -> tuple[str, str]:
    names = text.split(",")
    if len(names) != 2:
        raise ValueError(f"compare is {text!r}: give two methods, such as gradient,occlusion")
    return names[0], names[1]


if __name__ == "__main__":
    sys.exit(exit_status(main))
