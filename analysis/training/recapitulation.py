"""The recapitulation curve: how alike the loss gradient and its input are, along training.

python -m analysis.training.recapitulation RUN --output DIR [--method loss_gradient] [--trials NAME,NAME]
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.attribution.attributions import TRAINING, attribution_portions, attribution_rows, require_sweep
from analysis.attribution.grids import Images, load_images
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, draw_legend, share_axis, style_axes, styles
from analysis.drawing.image_grid import NOTE
from analysis.drawing.labels import file_stem
from analysis.intervals import mean_interval

METHOD = "loss_gradient"

MEASURES = {
    "cosine": "cosine of |gradient| with the image",
    "image_correlation": "correlation of |gradient| with the image",
    "edge_correlation": "correlation of |gradient| with the image's edges",
}

# Of an epoch's steps in the average that is drawn over the loss of single minibatches.
_SMOOTHED_SHARE = 0.02


def recapitulation(
    run: str | Path, *, method: str = METHOD, trials: Sequence[str] | None = None, every: int = 1
) -> pd.DataFrame:
    """Similarity along training: `trial`, `step`, `measure`, `mean`, `low`, `high` and `count`.

    Of every N-th step and the last of each trial.

    Measures, per panel image: `cosine` of |gradient| with the image, over pixels and channels; Pearson's
    `image_correlation` of |gradient| summed over channels with the image's mean over channels, and its
    `edge_correlation` with the size of that mean's finite differences. Mean and 95 % interval are over the
    panel; an image of one grey, and a gradient that is zero, have no similarity and are left out. Raises
    ValueError for another sweep's run, a method or a trial that it lacks, and an image that was not stored.
    """
    require_sweep(run, TRAINING)
    rows = attribution_rows(run, methods=[method], trials=trials).sort_values(["trial", "step"])
    last = rows.groupby("trial", observed=True)["step"].transform("max")
    rows = rows[(rows["step"] % every == 0) | (rows["step"] == last)]
    images = load_images(run, rows)
    _refuse_missing(rows, images)
    parts = []
    for portion, values in attribution_portions(run, rows):
        measured = similarities(np.abs(values), portion["image_key"], images)
        parts.append(portion[["trial", "step"]].reset_index(drop=True).join(measured))
    return _over_panel(pd.concat(parts))


def similarities(sizes: NDArray[np.float32], keys: Sequence[str], images: Images) -> pd.DataFrame:
    """The measures of |gradient| `[N, C, H, W]` with the images `[H, W, C]` of these keys, a row each."""
    codes, unique = pd.factorize(np.asarray(keys, dtype=object))
    pixels = np.stack([np.moveaxis(images[key] / 255, -1, 0) for key in unique]).astype(np.float32)
    if pixels.shape[1:] != sizes.shape[1:]:
        raise ValueError(f"the images are {pixels.shape[1:]}, their gradients {sizes.shape[1:]} [C, H, W]")
    grey, summed = pixels.mean(1), _flat(sizes.sum(1))
    edges = np.hypot(*np.gradient(grey, axis=(1, 2)))
    table = {
        "cosine": _cosines(_flat(sizes), _flat(pixels)[codes]),
        "image_correlation": _cosines(_centred(summed), _centred(_flat(grey))[codes]),
        "edge_correlation": _cosines(_centred(summed), _centred(_flat(edges))[codes]),
    }
    return pd.DataFrame(table)


def training_curve(rows: pd.DataFrame) -> pd.DataFrame:
    """`trial`, `step`, `training_loss` of the minibatch before, and `accuracy` of the panel, a row a step."""
    facts = rows.assign(accuracy=rows["label"] == rows["prediction"])
    groups = facts.groupby(["trial", "step"], observed=True)
    return groups.agg(training_loss=("training_loss", "first"), accuracy=("accuracy", "mean")).reset_index()


def recapitulation_figure(table: pd.DataFrame, curve: pd.DataFrame, *, title: str) -> Figure:
    """Figure of one trial: the measures against the step, the untrained network's as a dashed line, and below
    them the training loss and the panel's accuracy, a table of `training_curve`."""
    notes = [
        f"means over the panel of up to {table['count'].max()} images, bands: 95 % intervals of the mean",
        "dashed: the untrained network",
    ]
    figure = blank_chart(8.5, 6.2, title=title, notes=notes)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.5))
    for measure, look in styles(list(MEASURES), markers=False).items():
        _draw_measure(above, table[table["measure"] == measure].sort_values("step"), measure, look["color"])
    style_axes(above, y="similarity")
    draw_legend(above)
    _draw_training(below, curve.sort_values("step"))
    return figure


def figures(table: pd.DataFrame, curve: pd.DataFrame, subject: str) -> Iterator[tuple[str, Figure]]:
    """File stem and figure of each trial."""
    for trial, group in table.groupby("trial", observed=True):
        title = f"{subject}, {trial}: recapitulation of the input"
        figure = recapitulation_figure(group, curve[curve["trial"] == trial], title=title)
        yield f"recapitulation-{file_stem(str(trial))}", figure


def _over_panel(measured: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval of each measure at each step; the images of a step are of any number."""
    parts = []
    for (trial, step), group in measured.groupby(["trial", "step"], observed=True):
        mean, low, high, count = mean_interval(group[list(MEASURES)].to_numpy())
        parts += [(trial, step, *row) for row in zip(MEASURES, mean, low, high, count, strict=True)]
    return pd.DataFrame(parts, columns=["trial", "step", "measure", "mean", "low", "high", "count"])


def _draw_measure(axes: Axes, table: pd.DataFrame, measure: str, color: str) -> None:
    axes.plot(table["step"], table["mean"], color=color, linewidth=1.1, label=MEASURES[measure])
    axes.fill_between(table["step"], table["low"], table["high"], color=color, alpha=0.15, linewidth=0)
    untrained = table.loc[table["step"] == 0, "mean"]
    if len(untrained):
        axes.axhline(untrained.iloc[0], color=color, linewidth=0.9, linestyle="--")


def _draw_training(axes: Axes, curve: pd.DataFrame) -> None:
    loss, accuracy = "#8a6d3b", "#1f2328"
    window = max(1, round(len(curve) * _SMOOTHED_SHARE))
    smooth = curve["training_loss"].rolling(window, center=True, min_periods=1).mean()
    axes.plot(curve["step"], curve["training_loss"], color=loss, linewidth=0.5, alpha=0.35)
    axes.plot(curve["step"], smooth, color=loss, linewidth=1.2)
    style_axes(axes, x="step (minibatches)", y="training loss")
    axes.yaxis.label.set_color(loss)
    right = axes.twinx()
    right.plot(curve["step"], curve["accuracy"], color=accuracy, linewidth=0.9)
    style_axes(right, y="panel accuracy")
    share_axis(right)
    right.grid(visible=False)
    right.yaxis.label.set(color=accuracy, size=NOTE.size)


def _flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(len(values), -1)


def _centred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values - values.mean(1, keepdims=True)


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosines `[N]` of rows `[N, D]`; NaN where one is zero."""
    # Gradients of a confident network are 1e-9 and less: their squares would underflow float32.
    a, b = (
        each / np.maximum(np.abs(each).max(1, keepdims=True), np.finfo(np.float32).tiny)
        for each in (one, other)
    )
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products: NDArray[np.float64] = np.einsum("nd,nd->n", a, b, dtype=np.float64)
    return products / np.where(norms > 0, norms, np.nan)


def _refuse_missing(rows: pd.DataFrame, images: Images) -> None:
    missing = rows[~rows["image_key"].isin(list(images))]
    if len(missing):
        raise ValueError(
            f"image {missing['image_index'].iloc[0]} of the panel was not stored: image_key is null"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser(
        "python -m analysis.training.recapitulation", "The gradient's likeness to the input."
    )
    parser.add_argument("--method", default=METHOD, help="whose attributions (%(default)s)")
    parser.add_argument("--trials", metavar="NAMES", help="these alone; all unless given")
    options = parser.parse_args(arguments)
    trials = options.trials.split(",") if options.trials else None
    table = recapitulation(options.run, method=options.method, trials=trials)
    rows = attribution_rows(options.run, methods=[options.method], trials=trials)
    subject = f"{rows['model'].iloc[0]}, {options.method}"
    for path in save_table(table, options.output, "recapitulation"):
        print(path)
    for path in save_pages(figures(table, training_curve(rows), subject), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
