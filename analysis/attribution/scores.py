"""How faithful attributions are: deletion and insertion scores by method, and the completeness gap.

python -m analysis.attribution.scores RUN --output DIR [--methods NAME,NAME]
"""

import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.attacks.rows import describe
from analysis.attribution.attributions import STATIC, attribution_rows, method_names, require_sweep
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, style_axes
from analysis.drawing.image_grid import NOTE
from analysis.drawing.labels import FONT_FAMILY
from analysis.intervals import mean_interval

# What a score says of a method.
SCORES = {"deletion_score": "lower is better", "insertion_score": "higher is better"}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_DOT, _BAR = "#0072b2", "#9ac4e0"
_NEEDED = ("method", "target", "completeness_gap", *SCORES)


def attribution_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean score over the images by method: `method`, `measure`, `mean`, `low`, `high` (95 %) and `count`.

    `rows` are those of `analysis.attribution.attributions.attribution_rows`, of a sweep of whole test sets.
    """
    _refuse_missing(rows)
    table = []
    for method, group in rows.groupby(method_names(rows)):
        for measure in SCORES:
            mean, low, high, count = mean_interval(group[measure])
            table.append((method, measure, float(mean), float(low), float(high), int(count)))
    return pd.DataFrame(table, columns=["method", "measure", "mean", "low", "high", "count"])


def completeness_gaps(rows: pd.DataFrame) -> pd.DataFrame:
    """Quantiles of the completeness gap by method, of the methods that have one: `method`, `quantile`, `gap`,
    `absolute_gap` (the quantile of |gap|) and `count`."""
    _refuse_missing(rows)
    known = rows[rows["completeness_gap"].notna()]
    table = []
    for method, group in known.groupby(method_names(known)):
        gaps = group["completeness_gap"].to_numpy(np.float64)
        signed, absolute = np.quantile(gaps, QUANTILES), np.quantile(np.abs(gaps), QUANTILES)
        table += [(method, *each, len(gaps)) for each in zip(QUANTILES, signed, absolute, strict=True)]
    return pd.DataFrame(table, columns=["method", "quantile", "gap", "absolute_gap", "count"])


def score_figure(
    scores: pd.DataFrame, gaps: pd.DataFrame, *, title: str, notes: Sequence[str] = ()
) -> Figure:
    """Figure of both tables: a panel per score, and one of the gaps where there are any, a line per method."""
    names = sorted(scores["method"].unique(), reverse=True)
    panels = len(SCORES) + (len(gaps) > 0)
    height = max(2.2, 0.28 * len(names) + 1.6)
    figure = blank_chart(3.4 * panels + 1.4, height, title=title, notes=notes)
    grid = figure.subplots(1, panels, squeeze=False)[0]
    for axes, (measure, meaning) in zip(grid, SCORES.items(), strict=False):
        _draw_scores(axes, scores[scores["measure"] == measure].set_index("method").loc[names])
        style_axes(axes, title=f"{measure.replace('_', ' ')}: {meaning}", x="area under the probability")
    if len(gaps):
        shown = sorted(gaps["method"].unique(), reverse=True)
        _draw_gaps(grid[-1], gaps, shown)
        style_axes(grid[-1], title="completeness gap", x="sum of the attribution − the target's change")
        _name_lines(grid[-1], shown)
    _name_lines(grid[0], names)
    _name_lines(grid[1], [""] * len(names))
    return figure


def _draw_scores(axes: Axes, table: pd.DataFrame) -> None:
    lines = np.arange(len(table))
    axes.hlines(lines, table["low"], table["high"], color=_BAR, linewidth=4)
    axes.plot(table["mean"], lines, "o", color=_DOT, markersize=4)
    for line, mean in zip(lines, table["mean"], strict=True):
        axes.annotate(
            f"{mean:.3f}", (mean, line), (0, 5), textcoords="offset points", ha="center",
            size=NOTE.size - 1, color=NOTE.color, family=FONT_FAMILY,
        )  # fmt: skip
    axes.set_ylim(-0.6, len(table) - 0.3)


def _draw_gaps(axes: Axes, gaps: pd.DataFrame, names: Sequence[str]) -> None:
    for line, name in enumerate(names):
        low, quarter, middle, three_quarters, high = gaps[gaps["method"] == name].sort_values("quantile")[
            "gap"
        ]
        axes.hlines(line, low, high, color=_BAR, linewidth=2)
        axes.hlines(line, quarter, three_quarters, color=_BAR, linewidth=6)
        axes.plot(middle, line, "o", color=_DOT, markersize=4)
    axes.axvline(0, color=NOTE.color, linewidth=0.8)
    axes.set_ylim(-0.6, len(names) - 0.4)


def _name_lines(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(
        range(len(names)), names, size=NOTE.size, color=NOTE.color, family=FONT_FAMILY, parse_math=False
    )


def _refuse_missing(rows: pd.DataFrame) -> None:
    for column in _NEEDED:
        if column not in rows:
            raise ValueError(f"column {column!r} is not among those of the rows: {', '.join(rows.columns)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.attribution.scores", "How faithful attributions are.")
    parser.add_argument("--methods", metavar="NAMES", help="these alone, such as gradient,occlusion")
    options = parser.parse_args(arguments)
    require_sweep(options.run, STATIC)
    rows = attribution_rows(options.run, methods=options.methods.split(",") if options.methods else None)
    scores, gaps = attribution_scores(rows), completeness_gaps(rows)
    tables = {"attribution-scores": scores} | ({"completeness-gaps": gaps} if len(gaps) else {})
    for name, table in tables.items():
        for path in save_table(table, options.output, name):
            print(path)
    notes = ["dots: means over the images, bars: 95 % intervals of the mean"]
    if len(gaps):
        notes.append(
            "completeness gap: median, the middle half (thick) and the middle 90 % (thin) of the images"
        )
    figure = score_figure(scores, gaps, title=f"{describe(rows)}: attribution scores", notes=notes)
    for path in save_pages([("attribution-scores", figure)], options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
