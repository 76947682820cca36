"""The recapitulation curve: similarity of the loss gradient with its input, along training.

python -m analysis.training.recapitulation RUN --output DIR [--method loss_gradient] [--trials NAME,NAME]
    [--beside ATTRIBUTE_RUN]

`recapitulation` computes the table; `recapitulation_figure` (PNG) and `recapitulation_html` (report) draw the same
means and intervals on the same axis.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.attribution.attributions import (
    TRAINING,
    Images,
    attribution_portions,
    attribution_rows,
    attribution_values,
    load_images,
)
from analysis.attribution.checkpoints import redrawn_words
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, draw_legend, style_axes, styles
from analysis.drawing.labels import file_stem
from analysis.html.site import Site
from analysis.html.step_curves import Chart, chart
from analysis.intervals import mean_interval
from analysis.run import AnyRun, open_run, open_sweep
from analysis.training.curves import draw_training, training_curve
from analysis.training.redrawn import redrawn_similarity
from analysis.training.similarity import MEASURES, similarities

METHOD = "loss_gradient"

# States in the curve of a report: more cannot be seen in a chart, and each takes a millisecond and more.
MOST_STATES = 500


@dataclass(frozen=True, kw_only=True)
class SimilarityChange:
    """A measure's mean before and after training; mean and 95 % interval of its change, image by image."""

    measure: str
    before: float
    after: float
    mean: float
    low: float
    high: float


def recapitulation(
    run: AnyRun, *, method: str = METHOD, trials: Sequence[str] | None = None, every: int = 1
) -> pd.DataFrame:
    """Return the similarity along training, of every N-th step and the last of each trial.

    Columns: `trial`, `step`, `measure`, `mean`, `low`, `high` and `count`. The measures are those of
    `analysis.training.similarity`; mean and 95 % interval are over the panel. An image of one grey, and a
    gradient that is zero, have no similarity and are left out. Raises ValueError for another sweep's run, a
    method or a trial that it lacks, and an image that was not stored.
    """
    run = open_sweep(run, TRAINING)
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


def similarity_changes(run: AnyRun, rows: pd.DataFrame) -> list[SimilarityChange]:
    """Return how each measure changed between the untrained network and the last state of one trial's rows.

    The list is empty if the two states do not have the same images.
    """
    first, last = int(rows["step"].min()), int(rows["step"].max())
    before, after = (
        rows[rows["step"] == step].sort_values("image_index").reset_index(drop=True) for step in (first, last)
    )
    if first != 0 or last == 0 or list(before["image_index"]) != list(after["image_index"]):
        return []
    old, new = (
        similarities(
            np.abs(attribution_values(run, state)), list(state["image_key"]), load_images(run, state)
        )
        for state in (before, after)
    )
    changes = []
    for measure, name in MEASURES.items():
        mean, low, high, _ = map(float, mean_interval(new[measure] - old[measure]))
        means = {"before": float(old[measure].mean()), "after": float(new[measure].mean())}
        changes.append(SimilarityChange(measure=name, **means, mean=mean, low=low, high=high))
    return changes


def limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of the similarity axis: 0 or the smallest value, and the largest value."""
    edges = table[["low", "high", "mean"]].to_numpy(float)
    known = edges[np.isfinite(edges)]
    low, high = min(0.0, float(known.min(initial=0))), float(known.max(initial=0))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def recapitulation_figure(
    table: pd.DataFrame, curve: pd.DataFrame, *, title: str, redrawn: pd.DataFrame | None = None
) -> Figure:
    """Return the figure of one trial: the measures by step above, loss and accuracy below.

    The untrained network's similarity is a dashed line. `curve` is a table of `training_curve`. Of `redrawn`, a
    table of `redrawn_similarity`, the weights with the fewest layers re-drawn are a dotted line.
    """
    notes = [
        f"means over the panel of up to {table['count'].max()} images, bands: 95 % intervals of the mean",
        "dashed: the untrained network",
    ]
    if redrawn is not None:
        checkpoint = redrawn["checkpoint"].iloc[0]
        redrawn = redrawn[redrawn["checkpoint"] == checkpoint]
        notes[-1] += f"; dotted: the trained one where {redrawn_words(checkpoint)}"
    figure = blank_chart(8.5, 6.2, title=title, notes=notes)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.5))
    for measure, look in styles(list(MEASURES), markers=False).items():
        _draw_measure(above, table[table["measure"] == measure].sort_values("step"), measure, look["color"])
        if redrawn is not None:
            level = redrawn.loc[redrawn["measure"] == measure, "mean"].iloc[0]
            above.axhline(level, color=look["color"], linewidth=1.1, linestyle=":")
    above.set_ylim(*limits(table if redrawn is None else pd.concat([table, redrawn])))
    style_axes(above, y="similarity")
    draw_legend(above)
    draw_training(below, curve)
    return figure


def recapitulation_html(run: AnyRun, rows: pd.DataFrame, site: Site, folder: str) -> Markup:
    """Write the curve of one trial's rows and its figure to a folder of the report, and return it as HTML.

    The HTML is empty if no row is of the loss gradient. Raises ValueError for an image that was not stored.
    """
    rows = rows[rows["method"] == METHOD]
    if rows.empty:
        return Markup("")
    trial = str(rows["trial"].iloc[0])
    table = recapitulation(run, trials=[trial], every=_every(np.unique(rows["step"])))
    title = f"{rows['model'].iloc[0]}, {METHOD}, {trial}: recapitulation of the input"
    figure = recapitulation_figure(table, training_curve(rows), title=title)
    return site.render(
        "recapitulation.html",
        id=folder.replace("/", "-"),
        chart=_chart(table),
        changes=similarity_changes(run, rows),
        last_step=int(rows["step"].max()),
        num_images=int(table["count"].max()),
        files=[
            ("CSV", site.table(f"{folder}/recapitulation.csv", table)),
            ("figure as PNG", site.figure(f"{folder}/recapitulation.png", figure)),
        ],
    )


def figures(
    table: pd.DataFrame, curve: pd.DataFrame, subject: str, redrawn: pd.DataFrame | None = None
) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each trial."""
    for trial, group in table.groupby("trial", observed=True):
        title = f"{subject}, {trial}: recapitulation of the input"
        own = curve[curve["trial"] == trial]
        figure = recapitulation_figure(group, own, title=title, redrawn=redrawn)
        yield f"recapitulation-{file_stem(str(trial))}", figure


def _every(steps: np.ndarray) -> int:
    """Return the N of every N-th step that leaves about `MOST_STATES` of these."""
    stride = max(1, int(np.median(np.diff(steps)))) if len(steps) > 1 else 1
    return stride * -(-len(steps) // MOST_STATES)


def _over_panel(measured: pd.DataFrame) -> pd.DataFrame:
    """Return mean and interval of each measure at each step; a step may have any number of images."""
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


def _chart(table: pd.DataFrame) -> Chart:
    by = {
        column: table.pivot(index="step", columns="measure", values=column)
        for column in ("mean", "low", "high")
    }
    low, high = limits(table)
    steps = by["mean"].index.tolist()
    return chart(
        {name: by["mean"][measure].tolist() for measure, name in MEASURES.items()},
        low=low,
        high=high,
        steps=steps,
        bands={
            name: (by["low"][measure].tolist(), by["high"][measure].tolist())
            for measure, name in MEASURES.items()
        },
        levels={name: by["mean"][measure].iloc[0] for measure, name in MEASURES.items() if steps[0] == 0},
    )


def _refuse_missing(rows: pd.DataFrame, images: Images) -> None:
    missing = rows[~rows["image_key"].isin(list(images))]
    if len(missing):
        raise ValueError(
            f"image {missing['image_index'].iloc[0]} of the panel was not stored: image_key is null"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table and the figures that the command line asks for, and print their paths."""
    parser = figure_parser(
        "python -m analysis.training.recapitulation", "Similarity of the gradient with the input."
    )
    parser.add_argument("--method", default=METHOD, help="whose attributions (%(default)s)")
    parser.add_argument("--trials", metavar="NAMES", help="these alone; all unless given")
    parser.add_argument(
        "--beside",
        metavar="RUN",
        help="an attribution sweep of the panel, with layers of the network re-drawn",
    )
    options = parser.parse_args(arguments)
    trials = options.trials.split(",") if options.trials else None
    run = open_run(options.run)
    table = recapitulation(run, method=options.method, trials=trials)
    rows = attribution_rows(run, methods=[options.method], trials=trials)
    subject = f"{rows['model'].iloc[0]}, {options.method}"
    redrawn = None
    if options.beside is not None:
        redrawn = redrawn_similarity(run, options.beside, method=options.method)
        for path in save_table(redrawn, options.output, "recapitulation-redrawn"):
            print(path)
    for path in save_table(table, options.output, "recapitulation"):
        print(path)
    for path in save_pages(figures(table, training_curve(rows), subject, redrawn), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
