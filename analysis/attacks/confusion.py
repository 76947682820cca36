"""What images are taken for under attack, label by adversarial prediction: table, PNG and HTML.

python -m analysis.attacks.confusion RUN --output DIR [--rounded]
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.attacks.rows import (
    add_up,
    attack_names,
    attack_stem,
    count_rows,
    in_asked_order,
    is_minimum,
    refuse_other_sweeps,
)
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, draw_heatmap, name_ticks, style_axes
from analysis.drawing.pages import chunks
from analysis.html.heatmaps import Heading, Heatmap, heatmap
from analysis.naming import class_names, format_epsilon
from analysis.run import open_run

# Inches: a cell that holds a number, the names beside the panels, what lies between panels, the widest panel,
# and pages.
CELL, NAMES, GAP, WIDEST_PANEL = 0.3, 1.3, 0.4, 9.0
NARROWEST, WIDEST = 6.5, 13.5
NUM_DOWN = 4

_MOST_NUMBERS = 12
# Beyond this many classes, a report lists the most frequent pairs instead.
MOST_CONFUSED, NUM_PAIRS = 20, 20

_BY = ("checkpoint", "attack", "epsilon")
BY = (*_BY, "label", "label_name", "prediction")
_NEEDED = (
    "checkpoint",
    "method",
    "target",
    "epsilon",
    "label",
    "label_name",
    "adversarial_prediction",
    "prediction_u8",
)


def confusion(frame: pd.DataFrame, *, rounded: bool = False) -> pd.DataFrame:
    """Return how many images of each label are taken for what, by attack and ε; a row for each pair that occurs.

    Columns: `checkpoint`, `attack`, `epsilon`, `label`, `label_name`, `prediction`, `prediction_name`, `count`
    and `share`, that of the label's images. A predicted class that no label of
    the frame has is named by its index. Rows of the `minimum_*` methods are taken together under the epsilon
    NaN: each image at its own minimum, or at 1 if none was found. Raises ValueError for another sweep's rows.
    """
    return confusion_table(confusion_counts(frame, rounded=rounded))


def confusion_counts(frame: pd.DataFrame, *, rounded: bool = False) -> pd.DataFrame:
    """Return the counts behind `confusion`. Counts of parts of the rows add up by `BY`."""
    refuse_other_sweeps(frame, _NEEDED)
    rows = frame.assign(
        attack=attack_names(frame),
        epsilon=frame["epsilon"].mask(is_minimum(frame)),
        prediction=frame["prediction_u8" if rounded else "adversarial_prediction"],
    )
    groups = rows.groupby(list(BY), observed=True, dropna=False)
    return groups.size().rename("count").reset_index()


def confusion_table(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the table of `confusion` from counts, which may be sums over parts of the rows."""
    names = class_names(counts)
    table = add_up([counts.drop(columns="label_name")], [*_BY, "label", "prediction"])
    totals = table.groupby([*_BY, "label"], observed=True, dropna=False)["count"].transform("sum")
    table["label_name"] = table["label"].map(names)
    table["prediction_name"] = [names.get(index, str(index)) for index in table["prediction"]]
    table["share"] = table["count"] / totals
    return table[[*_BY, "label", "label_name", "prediction", "prediction_name", "count", "share"]]


@dataclass(frozen=True)
class ConfusionGrid:
    """What both the figure and the report show at one ε: counts and shares of labels by predictions.

    A share is NaN where the label has no image.
    """

    counts: pd.DataFrame
    shares: pd.DataFrame

    def text(self, row: int, column: int) -> str:
        """Return the text of a cell: the number of images, nothing for none."""
        return str(self.counts.iat[row, column] or "")


def confusion_grid(table: pd.DataFrame, labels: Sequence[int], predictions: Sequence[int]) -> ConfusionGrid:
    """Return the grid of rows of `confusion` of one checkpoint, attack and ε."""

    def matrix(column: str) -> pd.DataFrame:
        cells = table.pivot(index="label", columns="prediction", values=column)
        return cells.reindex(index=list(labels), columns=list(predictions))

    counts = matrix("count")
    # A label without images has no shares; a class that none of its images is taken for has the share 0.
    shares = matrix("share").mask(counts.isna() & (counts.sum(axis=1) > 0).to_numpy()[:, None], 0)
    return ConfusionGrid(counts.fillna(0).astype(int), shares.astype(float))


def figure(
    table: pd.DataFrame, *, title: str, notes: Sequence[str] = (), num_across: int | None = None
) -> Figure:
    """Draw the confusion under one attack: a panel per ε, colours by share of a label, counts in the cells.

    `table` has rows of `confusion` of one checkpoint and attack. All panels have the same rows and columns.
    """
    epsilons = list(table["epsilon"].unique())
    labels, predictions = _axis_names(table)
    across = min(len(epsilons), num_across or num_panels_across(len(predictions)))
    down = -(-len(epsilons) // across)
    width = across * (_panel_width(len(predictions)) + GAP) + NAMES
    height = down * (min(WIDEST_PANEL, max(1.5, CELL * len(labels))) + GAP) + NAMES + 0.5 + 0.15 * len(notes)
    page = blank_chart(max(NARROWEST, width), height, title=title, notes=notes)
    panels = page.subplots(down, across, squeeze=False).ravel()
    for index, (axes, epsilon) in enumerate(zip(panels, epsilons, strict=False)):
        same = table["epsilon"].isna() if np.isnan(epsilon) else table["epsilon"] == epsilon
        _draw_panel(axes, confusion_grid(table[same], list(labels), list(predictions)))
        # All panels have the same axes: named at the left and below.
        first, last = index % across == 0, index + across >= len(epsilons)
        name_ticks(axes, "y", list(labels.values()) if first else [])
        name_ticks(axes, "x", list(predictions.values()) if last else [])
        at = "each image at its minimum ε" if np.isnan(epsilon) else f"ε = {format_epsilon(epsilon)}"
        style_axes(axes, title=at, x="prediction" if last else "", y="label" if first else "")
        axes.grid(visible=False)
    for axes in panels[len(epsilons) :]:
        axes.remove()
    return page


def html(table: pd.DataFrame, names: Mapping[int, str]) -> Heatmap | None:
    """Return the report's table of labels by predictions at one ε; None for none and for too many classes.

    `table` has rows of `confusion` of one checkpoint, attack and ε; `names` has index and name of each class.
    """
    labels, predictions = _axis_names(table)
    if not 0 < len(predictions) <= MOST_CONFUSED:
        return None
    grid = confusion_grid(table, list(labels), list(predictions))
    return heatmap(
        grid.shares,
        grid.text,
        corner="Label",
        columns=[
            Heading(text=str(index), more=names.get(index, "").removeprefix(f"{index} "))
            for index in predictions
        ],
        rows=[Heading(text=names.get(label, str(label))) for label in labels],
        mark_own=True,
    )


def frequent_confusions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of a label and another prediction with the most images."""
    wrong = table[table["label"] != table["prediction"]]
    return wrong.sort_values(["count", "label", "prediction"], ascending=[False, True, True]).head(NUM_PAIRS)


def num_panels_across(num_classes: int) -> int:
    """Return how many panels of this many classes stand side by side on a page."""
    return max(1, int((WIDEST - NAMES) // (_panel_width(num_classes) + GAP)))


def _panel_width(num_classes: int) -> float:
    return min(WIDEST_PANEL, max(2.4, CELL * num_classes))


def figures(table: pd.DataFrame, subject: str, *, notes: Sequence[str] = ()) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page of a table of `confusion`, by checkpoint and attack."""
    across = num_panels_across(table["prediction"].nunique())
    for (checkpoint, attack), rows in table.groupby(["checkpoint", "attack"], observed=True):
        pages = list(chunks(sorted(rows["epsilon"].unique()), across * NUM_DOWN))
        for number, epsilons in enumerate(pages, start=1):
            page = figure(
                rows[rows["epsilon"].isin(epsilons)],
                title=f"{subject}: confusion under attack",
                notes=[f"{attack}, {checkpoint}; colour: share of a label's images, number: images", *notes],
                num_across=across,
            )
            yield f"confusion-{attack_stem(checkpoint, attack)}-{number:03d}", page


def _axis_names(table: pd.DataFrame) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names of the labels, and of all labels and predictions, by index."""
    labels = dict(sorted(set(zip(table["label"], table["label_name"], strict=True))))
    predicted = set(zip(table["prediction"], table["prediction_name"], strict=True))
    return labels, dict(sorted(predicted | set(labels.items())))


def _draw_panel(axes: Axes, grid: ConfusionGrid) -> None:
    numbers = grid.counts.astype(str).replace("0", "") if grid.counts.shape[1] <= _MOST_NUMBERS else None
    draw_heatmap(axes, grid.shares.to_numpy(dtype=float), numbers)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.attacks.confusion", "What images are taken for under attack.")
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    options = parser.parse_args(arguments)
    count = partial(confusion_counts, rounded=options.rounded)
    run = open_run(options.run)
    counts, subject = count_rows(run, count, BY)
    table = confusion_table(counts)
    for path in save_table(table, options.output, "confusion"):
        print(path)
    notes = ["predictions after rounding the images to 8 bits"] if options.rounded else []
    for path in save_pages(figures(in_asked_order(table, run), subject, notes=notes), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
