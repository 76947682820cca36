"""How faithful attributions are: deletion and insertion scores by method, and the completeness gap.

python -m analysis.attribution.scores RUN --output DIR [--methods NAME,NAME]

`attribution_scores` and `completeness_gaps` compute the tables; `score_figure` (PNG) and `score_html` (report)
show them in the same order, with the same digits and on the same axis from 0 to 1.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.attribution.attributions import STATIC, attribution_rows, method_names
from analysis.attribution.choice import method_order
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, style_axes
from analysis.drawing.image_grid import NOTE
from analysis.drawing.labels import FONT_FAMILY
from analysis.html.site import Site
from analysis.intervals import mean_interval
from analysis.naming import describe
from analysis.run import open_sweep

# Whether a low or a high score speaks for a method.
SCORES = {"deletion_score": "lower is better", "insertion_score": "higher is better"}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_DOT, _BAR = "#0072b2", "#9ac4e0"
_NEEDED = ("method", "target", "completeness_gap", *SCORES)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Mean score of a method with its 95 % interval; `low` and `high` are NaN for a single image."""

    mean: float
    low: float
    high: float
    is_best: bool

    @property
    def text(self) -> str:
        """The mean as it is shown."""
        return f"{self.mean:.3f}"

    @property
    def interval(self) -> str:
        """The interval as it is shown, empty for a single image."""
        return "" if np.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"


@dataclass(frozen=True, kw_only=True)
class MethodScores:
    """A method's scores in the order of `SCORES`, the quantiles of its gap, if it has one, and its images."""

    method: str
    scores: Sequence[Score]
    gap: Mapping[float, float]
    count: int


def attribution_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score over the images by method.

    Columns: `method`, `measure`, `mean`, `low`, `high` (95 %) and `count`. `rows` are those of
    `attribution_rows`, of a sweep over a test set.
    """
    _refuse_missing(rows)
    table = []
    for method, group in rows.groupby(method_names(rows)):
        for measure in SCORES:
            mean, low, high, count = mean_interval(group[measure])
            table.append((method, measure, float(mean), float(low), float(high), int(count)))
    return pd.DataFrame(table, columns=["method", "measure", "mean", "low", "high", "count"])


def completeness_gaps(rows: pd.DataFrame) -> pd.DataFrame:
    """Return quantiles of the completeness gap by method, of the methods that have one.

    Columns: `method`, `quantile`, `gap`, `absolute_gap` (the quantile of |gap|) and `count`.
    """
    _refuse_missing(rows)
    known = rows[rows["completeness_gap"].notna()]
    table = []
    for method, group in known.groupby(method_names(known)):
        gaps = group["completeness_gap"].to_numpy(np.float64)
        signed, absolute = np.quantile(gaps, QUANTILES), np.quantile(np.abs(gaps), QUANTILES)
        table += [(method, *each, len(gaps)) for each in zip(QUANTILES, signed, absolute, strict=True)]
    return pd.DataFrame(table, columns=["method", "quantile", "gap", "absolute_gap", "count"])


def scores_by_method(
    scores: pd.DataFrame, gaps: pd.DataFrame, methods: Sequence[str] | None = None
) -> list[MethodScores]:
    """Return what is shown of both tables, method by method; in the table's order unless `methods` gives one."""
    methods = list(scores["method"].unique()) if methods is None else methods
    means = scores.pivot(index="method", columns="measure", values="mean")
    best = (means["deletion_score"].min(), means["insertion_score"].max())
    by = scores.set_index(["method", "measure"])
    shown = []
    for method in methods:
        found = [by.loc[(method, measure)] for measure in SCORES]
        shown.append(
            MethodScores(
                method=method,
                scores=[
                    Score(
                        **row[["mean", "low", "high"]],
                        is_best=len(methods) > 1 and bool(row["mean"] == target),
                    )
                    for row, target in zip(found, best, strict=True)
                ],
                gap=gaps[gaps["method"] == method].set_index("quantile")["gap"].to_dict(),
                count=int(found[0]["count"]),
            )
        )
    return shown


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
    shown = scores_by_method(scores, gaps, methods)
    panels = len(SCORES) + (len(gaps) > 0)
    height = max(2.2, 0.28 * len(shown) + 1.6)
    figure = blank_chart(3.4 * panels + 1.4, height, title=title, notes=notes)
    grid = figure.subplots(1, panels, squeeze=False)[0]
    for panel, (measure, meaning) in enumerate(SCORES.items()):
        _draw_scores(grid[panel], [each.scores[panel] for each in shown])
        style_axes(
            grid[panel],
            title=f"{measure.replace('_', ' ')}: {meaning}",
            x="area under the probability",
        )
    _name_lines(grid[0], [each.method for each in shown])
    _name_lines(grid[1], [""] * len(shown))
    if len(gaps):
        with_gap = [each for each in shown if each.gap]
        _draw_gaps(grid[-1], [each.gap for each in with_gap])
        style_axes(grid[-1], title="completeness gap", x="sum of the attribution − the target's change")
        _name_lines(grid[-1], [each.method for each in with_gap])
    return figure


def score_html(
    scores: pd.DataFrame, gaps: pd.DataFrame, site: Site, folder: str, *, methods: Sequence[str], subject: str
) -> Markup:
    """Write both tables and their figure to a folder of the report, and return the scores as HTML.

    `folder` also begins the anchors; `methods` is the order of the lines; `subject` begins the figure's title.
    """
    figure = score_figure(scores, gaps, title=f"{subject}: attribution scores", methods=methods)
    files = [("scores as CSV", site.table(f"{folder}/attribution-scores.csv", scores))]
    if len(gaps):
        files.append(("completeness gaps as CSV", site.table(f"{folder}/completeness-gaps.csv", gaps)))
    files.append(("figure as PNG", site.figure(f"{folder}/attribution-scores.png", figure)))
    rows = scores_by_method(scores, gaps, methods)
    return site.render("attribution_scores.html", id=folder, rows=rows, has_gaps=len(gaps) > 0, files=files)


def _draw_scores(axes: Axes, scores: Sequence[Score]) -> None:
    lines = np.arange(len(scores))
    axes.hlines(lines, [each.low for each in scores], [each.high for each in scores], color=_BAR, linewidth=4)
    axes.plot([each.mean for each in scores], lines, "o", color=_DOT, markersize=4)
    for line, score in enumerate(scores):
        axes.annotate(
            score.text, (score.mean, line), (0, 5), textcoords="offset points", ha="center",
            size=NOTE.size - 1, color=NOTE.color, family=FONT_FAMILY,
            weight="bold" if score.is_best else "normal",
        )  # fmt: skip
    axes.set_xlim(0, 1)
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


def _refuse_missing(rows: pd.DataFrame) -> None:
    for column in _NEEDED:
        if column not in rows:
            raise ValueError(f"column {column!r} is not among those of the rows: {', '.join(rows.columns)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables and the figure that the command line asks for, and print their paths."""
    parser = figure_parser("python -m analysis.attribution.scores", "How faithful attributions are.")
    parser.add_argument("--methods", metavar="NAMES", help="these alone, such as gradient,occlusion")
    options = parser.parse_args(arguments)
    run = open_sweep(options.run, STATIC)
    rows = attribution_rows(run, methods=options.methods.split(",") if options.methods else None)
    scores, gaps = attribution_scores(rows), completeness_gaps(rows)
    tables = {"attribution-scores": scores} | ({"completeness-gaps": gaps} if len(gaps) else {})
    for name, table in tables.items():
        for path in save_table(table, options.output, name):
            print(path)
    notes = ["dots: means over the images (bold: the best), bars: 95 % intervals of the mean"]
    if len(gaps):
        notes.append(
            "completeness gap: median, the middle half (thick) and the middle 90 % (thin) of the images"
        )
    methods = method_order(run, scores["method"].unique())
    title = f"{describe(rows)}: attribution scores"
    figure = score_figure(scores, gaps, title=title, methods=methods, notes=notes)
    for path in save_pages([("attribution-scores", figure)], options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
