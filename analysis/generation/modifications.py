"""Real images changed until another class is seen in them: how much it takes, label by target, and strips.

python -m analysis.generation.modifications RUN --output DIR [--num-images N]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import load
from analysis.attacks.rows import describe, recorded_class_names
from analysis.attribution.attributions import require_sweep
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, name_ticks, style_axes
from analysis.drawing.image_grid import EMPTY, NAME, NOTE, RIGHT
from analysis.drawing.labels import FONT_FAMILY
from analysis.generation.modification_strips import strip_pages
from analysis.intervals import mean_interval

MODIFY = "modify"
NUM_IMAGES = 12

# Inches.
CELL, NAMES = 0.42, 1.3
# Beyond this many classes, numbers would not fit into the cells.
_MOST_NUMBERS = 16
_LARGEST_SIDE = 9.0

_COLUMNS = (
    "sweep",
    "model",
    "dataset",
    "split",
    "key",
    "image_index",
    "label",
    "label_name",
    "target",
    "target_name",
    "initial_prediction",
    "prediction",
    "confidence",
    "first_hit_step",
    "hit_l2",
    "l2",
    "image_file",
    "image_key",
    "clean_file",
    "clean_key",
)


def load_rows(run: str | Path) -> pd.DataFrame:
    """What these tables and figures need of a run's rows. ValueError for another sweep's."""
    require_sweep(run, MODIFY)
    return load.results(run, _COLUMNS)


def modification_table(frame: pd.DataFrame) -> pd.DataFrame:
    """How large a change it took, by `label` and `target`, with both names.

    `mean`, `low` and `high` (95 %) are of the l2 norm of the change, in pixel units of [0, 1], when the target was
    first predicted, over the `count` images where it was; `reached` is their share of the `num_images`, `kept`
    that of the images that are taken for the target in the end. `final` is the mean norm after all steps, which
    says little of the target: each step moves each pixel.
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


def own_and_other(frame: pd.DataFrame) -> pd.DataFrame:
    """The l2 norm towards an image's own label and towards others: `measure`, `towards`, `mean`, `low`, `high`,
    `count`.

    The measures are `hit_l2`, when the target was first predicted, and `l2`, after all steps. The same images
    stand on both sides, each once, with the mean over the targets that have a value; images without one on both
    sides are left out. `difference` is other minus own, image by image.
    """
    own = (frame["target"] == frame["label"]).map({True: "own label", False: "other classes"})
    parts = []
    for measure in ("hit_l2", "l2"):
        norms = frame.groupby(["image_index", own])[measure].mean().unstack()
        norms = norms.reindex(columns=["own label", "other classes"]).dropna()
        norms["difference"] = norms["other classes"] - norms["own label"]
        mean, low, high, count = mean_interval(norms.to_numpy())
        columns = {"towards": list(norms), "mean": mean, "low": low, "high": high, "count": count}
        parts.append(pd.DataFrame({"measure": measure, **columns}))
    return pd.concat(parts, ignore_index=True)


def modification_figure(table: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Figure of a table of `modification_table`: the norm at the first hit and the share that had one.

    A frame marks the images' own label, where the change is expected to be small.
    """
    labels = names_of(table, "label")
    targets = names_of(table, "target")
    width, height = (min(_LARGEST_SIDE, max(2.4, CELL * len(each))) for each in (targets, labels))
    figure = blank_chart(2 * width + NAMES + 1.6, height + NAMES + 0.9, title=title, notes=notes)
    grid = figure.subplots(1, 2)
    fitting = max(len(labels), len(targets)) <= _MOST_NUMBERS
    for axes, column, name, form in (
        (grid[0], "mean", "l2 norm of the change that reached the target", "{:.2f}"),
        (grid[1], "reached", "share that reached the target", "{:.0%}"),
    ):
        values = table.pivot(index="label", columns="target", values=column)
        values = values.reindex(index=list(labels), columns=list(targets)).to_numpy(np.float64)
        largest = 1.0 if column == "reached" else float(np.nanmax(values, initial=0)) or 1.0
        _draw_matrix(axes, values / largest, values, form if fitting else None)
        _mark_own(axes, list(labels), list(targets))
        style_axes(axes, title=name, x="target", y="label" if column == "mean" else "")
        axes.grid(visible=False)
        name_ticks(axes, "x", list(targets.values()))
        name_ticks(axes, "y", list(labels.values()) if column == "mean" else [])
    return figure


def names_of(frame: pd.DataFrame, column: str) -> dict[int, str]:
    """Index and name of each `label` or `target`."""
    known = frame[[column, f"{column}_name"]].drop_duplicates(column).sort_values(column)
    return {int(index): f"{index} {name}" for index, name in known.itertuples(index=False, name=None)}


def _draw_matrix(axes: Axes, shares: np.ndarray, values: np.ndarray, form: str | None) -> None:
    axes.set_facecolor(EMPTY)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(values if form else np.empty((0, 0))):
        if form and not np.isnan(value):
            color = "white" if shares[row, column] > 0.55 else NAME.color
            style = {"size": NOTE.size - 1, "color": color, "family": FONT_FAMILY}
            axes.text(column, row, form.format(value), ha="center", va="center", in_layout=False, **style)


def _mark_own(axes: Axes, labels: Sequence[int], targets: Sequence[int]) -> None:
    for row, label in enumerate(labels):
        if label in targets:
            corner = (targets.index(label) - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=RIGHT, linewidth=1.4))


def _notes(sides: pd.DataFrame) -> list[str]:
    notes = [
        "means, in pixel units of [0, 1], when the target was first predicted, over the images where it was",
        "green frames: the target is the image's own label; grey: no image reached the target",
    ]
    own, other, difference = sides[sides["measure"] == "hit_l2"].itertuples(index=False)
    if difference.count:
        notes.append(
            f"towards its own label {own.mean:.2f}, towards others {other.mean:.2f}: {difference.mean:.2f} more "
            f"(95 % interval {difference.low:.2f} to {difference.high:.2f}, {difference.count} images)"
        )
    return notes


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser(
        "python -m analysis.generation.modifications", "Images modified towards other classes."
    )
    parser.add_argument(
        "--num-images", metavar="N", type=int, default=NUM_IMAGES, help="images in strips (%(default)s)"
    )
    options = parser.parse_args(arguments)
    frame = load_rows(options.run)
    table, sides = modification_table(frame), own_and_other(frame)
    for name, each in {"modifications": table, "modifications-own-and-other": sides}.items():
        for path in save_table(each, options.output, name):
            print(path)
    figure = modification_figure(table, title=f"{describe(frame)}: modified", notes=_notes(sides))
    for path in save_pages([("modifications", figure)], options.output):
        print(path)
    # A class that images are taken for on their way may be no label and no target.
    names = names_of(frame, "label") | names_of(frame, "target") | recorded_class_names(options.run)
    for path in save_pages(strip_pages(options.run, frame, names, options.num_images), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
