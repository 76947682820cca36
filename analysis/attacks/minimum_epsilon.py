"""The minimum adversarial ε of each image, its distribution and its quartiles: tables, PNG and HTML.

python -m analysis.attacks.minimum_epsilon RUN --output DIR [--denominator all]
"""

import math
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.attacks.masked_gradients import as_notes, gradient_table, vanished_warnings
from analysis.attacks.rows import (
    attack_names,
    attack_stem,
    in_asked_order,
    initially_correct,
    is_minimum,
    refuse_other_sweeps,
    row_portions,
    values_in_order,
)
from analysis.attacks.success_rates import DENOMINATORS, Denominator
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import (
    blank_chart,
    draw_curve,
    draw_legend,
    epsilon_axis,
    name_ticks,
    share_axis,
    style_axes,
    styles,
)
from analysis.drawing.pages import chunks
from analysis.html.epsilon_charts import ChartGroup, Scale, chart_group
from analysis.intervals import wilson_interval
from analysis.naming import describe
from analysis.result_files import concat_rows
from analysis.run import AnyRun, open_run

NUM_CLASSES = 40

QUARTILES = {"lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75}

_BY = ("checkpoint", "attack")
_BARS = "quartiles and median; a bar that leaves the axis: too few minima found"
_NEEDED = ("checkpoint", "method", "target", "image_index", "epsilon", "label", "clean_prediction")
_COLUMNS = (
    *_NEEDED,
    "sweep",
    "model",
    "dataset",
    "split",
    "label_name",
    "seeks_minimum",
    "zero_gradient",
    "gradient_fallback",
)


def load_minimum_rows(run: AnyRun) -> pd.DataFrame:
    """Return the rows of the `minimum_*` methods of a run; if there are none, one row of each method.

    Attacks at given ε, most rows of most runs, are read and dropped, some at a time.
    """
    return concat_minima([minima_of(portion) for portion in row_portions(run, _COLUMNS)])


def minima_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the `minimum_*` methods, or one row of each method if there are none."""
    minimum = is_minimum(rows)
    found = rows[minimum] if minimum.any() else rows.drop_duplicates("method")
    return found[list(_COLUMNS)]


def concat_minima(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate what `minima_of` gave of parts of the rows, with the same meaning."""
    frame = concat_rows(parts)
    return frame[is_minimum(frame)] if is_minimum(frame).any() else frame


def minimum_rows(frame: pd.DataFrame, denominator: Denominator = "all") -> pd.DataFrame:
    """Return the `minimum_*` rows that count, with `attack` and `minimum`, which is infinite if none was found.

    An image that is misclassified as it is has the minimum 0. Images whose label is the target do not count.
    Raises ValueError where no row is of such a method, for rows of another sweep and another denominator.
    """
    refuse_other_sweeps(frame, _NEEDED)
    if denominator not in DENOMINATORS:
        raise ValueError(f"denominator is {denominator!r}: choose from {', '.join(DENOMINATORS)}")
    if not is_minimum(frame).any():
        methods = ", ".join(sorted(frame["method"].unique()))
        raise ValueError(
            f"method of the rows is {methods}: a minimum ε needs minimum_fgsm or minimum_max_norm, "
            "or an attack that finds one"
        )
    rows = frame[is_minimum(frame) & (frame["target"] != frame["label"])]
    rows = rows if denominator == "all" else rows[initially_correct(rows)]
    return rows.assign(attack=attack_names(rows), minimum=rows["epsilon"].fillna(np.inf))


def distribution(frame: pd.DataFrame, denominator: Denominator = "all") -> pd.DataFrame:
    """Return a table of `checkpoint`, `attack`, `epsilon`, `rate`, `low`, `high` (Wilson, 95 %) and `count`.

    `rate` is the share of all `count` images whose minimum is at most `epsilon`; for an attack that misses
    images it ends below 1. A row at ε = 0 and one per minimum found. Raises ValueError as `minimum_rows` does.
    """
    rows = minimum_rows(frame, denominator)
    parts = []
    for (checkpoint, attack), group in rows.groupby(list(_BY), observed=True):
        found = np.sort(group["minimum"][np.isfinite(group["minimum"])])
        epsilons = np.union1d([0.0], found)
        reached = np.searchsorted(found, epsilons, side="right")
        part = pd.DataFrame({"epsilon": epsilons, "successes": reached, "count": len(group)})
        parts.append(part.assign(checkpoint=checkpoint, attack=attack))
    table = pd.concat(parts, ignore_index=True)
    table["low"], table["high"] = wilson_interval(table["successes"], table["count"])
    table["rate"] = table["successes"] / table["count"]
    return table[[*_BY, "epsilon", "rate", "low", "high", "count"]]


def quartiles(frame: pd.DataFrame, by: Sequence[str] = _BY, denominator: Denominator = "all") -> pd.DataFrame:
    """Return quartiles by the columns of `by`: each of `QUARTILES`, `found`, `low`, `high`, `count`.

    A quartile is the smallest ε that is enough for this share of all images, NaN where too few were found;
    `found` is the share of images for which any ε is enough, with its interval (Wilson, 95 %). Raises
    ValueError as `minimum_rows` does, and for an unknown column.
    """
    rows = minimum_rows(frame, denominator)
    for column in by:
        if column not in rows:
            raise ValueError(f"by names {column!r}: choose from {', '.join(rows.columns)}")
    groups = rows.groupby(list(by), observed=True, dropna=False)["minimum"]
    table = groups.agg(
        **{name: lambda minima, share=share: _quantile(minima, share) for name, share in QUARTILES.items()},
        found=lambda minima: np.isfinite(minima).mean(),
        count="size",
    ).reset_index()
    table["low"], table["high"] = wilson_interval((table["found"] * table["count"]).round(), table["count"])
    return table[[*by, *QUARTILES, "found", "low", "high", "count"]]


def figure(table: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Draw a table of `distribution`: a panel per checkpoint, a curve per attack."""
    checkpoints = values_in_order(table["checkpoint"])
    look = styles(values_in_order(table["attack"]), markers=False)
    height = 3.6 * len(checkpoints) + 0.5 + 0.15 * len(notes)
    page = blank_chart(6.5, height, title=title, notes=notes)
    smallest, largest = epsilon_limits(table["epsilon"])
    for axes, checkpoint in zip(
        page.subplots(len(checkpoints), squeeze=False)[:, 0], checkpoints, strict=True
    ):
        for attack, curve in table[table["checkpoint"] == checkpoint].groupby("attack", observed=True):
            label = f"{attack}: none found for {1 - curve['rate'].iloc[-1]:.1%}"
            # On to the right edge of the axis, as high as it came.
            ended = pd.concat([curve, curve.iloc[-1:].assign(epsilon=2 * largest)])
            draw_curve(axes, ended, label=label, steps=True, **look[attack])
        style_axes(axes, title=str(checkpoint), y="share of images with a minimum of at most ε")
        share_axis(axes)
        epsilon_axis(axes, smallest, largest)
        draw_legend(axes)
    return page


def html(table: pd.DataFrame, checkpoints: Sequence[str]) -> ChartGroup | None:
    """Return the report's charts of a table of `distribution`; None if no minimum was sought."""
    if table.empty:
        return None
    panels = [
        (name, dict(iter(table[table["checkpoint"] == name].groupby("attack", observed=True))))
        for name in checkpoints
    ]
    scale = Scale(*epsilon_limits(table["epsilon"]))
    return chart_group("Minimum ε", panels, values_in_order(table["attack"]), scale, steps=True)


def class_figure(table: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Draw a table of `quartiles` by class: a bar between the quartiles, a stroke at the median.

    Where too few minima were found for a quartile, the bar runs out of the axis on the right.
    """
    page = blank_chart(6.5, 1.5 + 0.2 * len(table) + 0.15 * len(notes), title=title, notes=notes)
    axes = page.subplots()
    smallest, largest = epsilon_limits(table[list(QUARTILES)].stack())
    for position, row in enumerate(table[list(QUARTILES)].fillna(np.inf).to_numpy()):
        _draw_box(
            axes, position, np.minimum(row * 255, 2 * largest * 255), median_found=math.isfinite(row[1])
        )
    style_axes(axes)
    names = [f"{label} {name}" for label, name in zip(table["label"], table["label_name"], strict=True)]
    name_ticks(axes, "y", names)
    axes.set_ylim(len(table) - 0.4, -0.6)
    epsilon_axis(axes, smallest, largest)
    return page


def epsilon_limits(epsilons: pd.Series) -> tuple[float, float]:
    """Return the ends of an axis that a few images with a tiny minimum do not stretch."""
    positive = epsilons[epsilons > 0].dropna()
    if positive.empty:
        return 1 / 255, 2 / 255
    largest = float(positive.max())
    return max(float(positive.quantile(0.01)), largest / 2000), largest


def figures(
    frame: pd.DataFrame, run: AnyRun, denominator: Denominator = "all", *, notes: Sequence[str] = ()
) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure: the distributions, then for each checkpoint and attack the classes."""
    title = f"{describe(frame)}: minimum ε"
    yield (
        "minimum-epsilon",
        figure(in_asked_order(distribution(frame, denominator), run), title=title, notes=notes),
    )
    classes = in_asked_order(quartiles(frame, [*_BY, "label", "label_name"], denominator), run)
    for (checkpoint, attack), table in classes.groupby(list(_BY), observed=True):
        for number, labels in enumerate(chunks(sorted(table["label"].unique()), NUM_CLASSES), start=1):
            page = class_figure(
                table[table["label"].isin(labels)],
                title=f"{title} by class",
                notes=[f"{attack}, {checkpoint}; {_BARS}", *notes],
            )
            yield f"minimum-epsilon-classes-{attack_stem(checkpoint, attack)}-{number:03d}", page


def _quantile(minima: pd.Series, share: float) -> float:
    # Interpolating between a number and infinity would give no number at all.
    value = np.sort(minima)[math.ceil(share * len(minima)) - 1]
    return float(value) if math.isfinite(value) else math.nan


def _draw_box(axes: Axes, position: int, ends: NDArray[np.float64], *, median_found: bool) -> None:
    low, median, high = ends
    color = "#0072b2"
    axes.add_patch(Rectangle((low, position - 0.3), high - low, 0.6, facecolor=color, alpha=0.3, linewidth=0))
    if median_found:
        axes.plot([median, median], [position - 0.3, position + 0.3], color=color, linewidth=1.6)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.attacks.minimum_epsilon", "The distribution of the minimum ε.")
    parser.add_argument(
        "--denominator", default="all", choices=DENOMINATORS, help="images that a rate is of (%(default)s)"
    )
    options = parser.parse_args(arguments)
    run, denominator = open_run(options.run), options.denominator
    frame = load_minimum_rows(run)
    among = {
        "all": "all images; 0 where the clean image is misclassified",
        "initially_correct": "images that were right to begin with",
    }
    tables = {
        "minimum-epsilon": distribution(frame, denominator),
        "minimum-epsilon-quartiles": quartiles(frame, _BY, denominator),
        "minimum-epsilon-classes": quartiles(frame, [*_BY, "label", "label_name"], denominator),
    }
    for name, table in tables.items():
        for path in save_table(table, options.output, name):
            print(path)
    notes = [f"among {among[denominator]}", *as_notes(vanished_warnings(gradient_table(frame)))]
    pages = figures(frame, run, denominator, notes=notes)
    for path in save_pages(pages, options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
