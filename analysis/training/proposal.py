"""Is the gradient integrated over training any good? It beside the gradient and integrated gradients, by score.

python -m analysis.training.proposal RUN RUN ... --output DIR [--format text|markdown|latex|csv]

The runs are those of `attribute_all.py --training RUN#TRIAL --target loss`, one a training: several networks,
several seeds each. An image's score is averaged over the seeds of a network first: the interval is over images.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.attribution.attributions import STATIC, attribution_rows
from analysis.command_line import exit_status, save_pages, save_table
from analysis.drawing.charts import blank_chart, style_axes
from analysis.drawing.image_grid import NOTE
from analysis.drawing.labels import FONT_FAMILY
from analysis.intervals import mean_interval
from analysis.run import AnyRun, open_sweep
from analysis.text_tables import FORMATS, text_table

SUM, SUM_X_INPUT = "training_integrated_gradient", "training_integrated_gradient_x_input"
# What the proposal is compared with: what looks at the last network alone, and is as cheap or the field's habit.
PAIRS = (
    (SUM, "loss_gradient"),
    (SUM_X_INPUT, "loss_gradient_x_input"),
    (SUM_X_INPUT, "integrated_gradients"),
)
KEYS = ["model", "trial", "method", "image_index"]
_NUMBERS = ["difference", "low", "high", "count", "num_trials"]
_DOT, _BAR, _SEED = "#0072b2", "#9ac4e0", "#8c959f"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A score of the comparison: its name for people, and whether a high value speaks for a method."""

    name: str
    is_high_good: bool


MEASURES = {
    "deletion_score": Measure(name="deletion: lower is better", is_high_good=False),
    "insertion_score": Measure(name="insertion: higher is better", is_high_good=True),
    "unexplained": Measure(name="share of the change not explained: lower is better", is_high_good=False),
}


def scored_images(runs: Sequence[AnyRun]) -> pd.DataFrame:
    """Return a row for each training, method and image, with `model`, `trial` and the scores of `MEASURES`.

    `unexplained` is the infidelity under the scale that suits the map best, as a share of that of a map of zeros.
    Raises ValueError for a run that has no sums over a training, and for two of one training.
    """
    parts = [_of_run(run) for run in runs]
    rows = pd.concat(parts, ignore_index=True)
    if rows.duplicated(KEYS).any():
        trial = rows.loc[rows.duplicated(KEYS), "trial"].iloc[0]
        raise ValueError(f"two of the runs are of the training {trial}: give each training once")
    return rows


def proposal_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score over images by `model`, `method` and `measure`, with its 95 % interval.

    `count` is the number of images, `num_trials` that of the trainings over which an image's score is averaged.
    """
    table = []
    for (model, method), group in rows.groupby(["model", "method"]):
        for measure in MEASURES:
            by_image = group.groupby("image_index")[measure].mean()
            mean, low, high, count = mean_interval(by_image)
            trials = group["trial"].nunique()
            table.append((model, method, measure, float(mean), float(low), float(high), int(count), trials))
    columns = ["model", "method", "measure", "mean", "low", "high", "count", "num_trials"]
    return pd.DataFrame(table, columns=columns)


def proposal_differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the proposal's score minus another method's, image by image, by `model`, pair and `measure`.

    `verdict` is `better` or `worse` where the 95 % interval excludes 0 and every training agrees on the sign, else
    `undecided`.
    """
    table = []
    for model, of_model in rows.groupby("model"):
        by_method = {name: part.set_index(KEYS[1:2] + KEYS[3:]) for name, part in of_model.groupby("method")}
        for proposal, other in PAIRS:
            if proposal not in by_method or other not in by_method:
                continue
            for measure, meaning in MEASURES.items():
                changes = (by_method[proposal][measure] - by_method[other][measure]).dropna()
                mean, low, high, count = mean_interval(changes.groupby("image_index").mean())
                seeds = changes.groupby("trial").mean()
                found = _verdict(seeds, float(low), float(high), is_high_good=meaning.is_high_good)
                numbers = (float(mean), float(low), float(high), int(count), len(seeds))
                table.append((model, proposal, other, measure, *numbers, found))
    return pd.DataFrame(table, columns=["model", "method", "other", "measure", *_NUMBERS, "verdict"])


def proposal_figure(rows: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Return the figure: a line of panels for each network, a panel for each score, a line for each method."""
    models = list(scores["model"].unique())
    methods = _order(scores["method"].unique())
    notes = [
        "large dots: means over images, each averaged over the trainings; bars: 95 % intervals over images",
        "small dots: the mean of each training (seed)",
    ]
    height = 1.4 + len(models) * (0.3 * len(methods) + 0.9)
    title = "The loss gradient integrated over training, beside methods that see the last network alone"
    figure = blank_chart(12.5, height, title=title, notes=notes)
    grid = figure.subplots(len(models), len(MEASURES), squeeze=False, sharex="col")
    for line, model in enumerate(models):
        for panel, (measure, meaning) in enumerate(MEASURES.items()):
            axes = grid[line][panel]
            chosen = scores[(scores["model"] == model) & (scores["measure"] == measure)].set_index("method")
            _draw(axes, chosen, rows[rows["model"] == model], measure, methods)
            style_axes(axes, title=f"{model}: {meaning.name}" if panel == 0 else meaning.name)
            names = [each.replace("_", " ") for each in methods] if panel == 0 else [""] * len(methods)
            axes.set_yticks(
                range(len(methods)),
                names,
                size=NOTE.size,
                color=NOTE.color,
                family=FONT_FAMILY,
                parse_math=False,
            )
    return figure


def _of_run(run: AnyRun) -> pd.DataFrame:
    run = open_sweep(run, STATIC)
    training = run.sweep.get("definitions", {}).get("training")
    rows = attribution_rows(run)
    rows = rows[(rows["target"] == "loss") & (rows["checkpoint"] == "trained")]
    if training is None or rows.empty:
        raise ValueError(f"{run} has no sums over a training: attribute_all.py --training RUN --target loss")
    found = rows[["method", "image_index"]].assign(
        model=str(rows["model"].iloc[0]),
        trial=str(training).split(", ")[0],
        method=rows["method"].astype(str),
    )
    for measure in ("deletion_score", "insertion_score"):
        found[measure] = rows[measure].astype(float)
    if "infidelity_scaled" in rows:
        zero = rows["infidelity_of_zero"].astype(float)
        found["unexplained"] = rows["infidelity_scaled"].astype(float) / zero.where(zero > 0)
    else:
        found["unexplained"] = np.nan
    return found


def _verdict(seeds: pd.Series, low: float, high: float, *, is_high_good: bool) -> str:
    if low > 0 and (seeds > 0).all():
        return "better" if is_high_good else "worse"
    if high < 0 and (seeds < 0).all():
        return "worse" if is_high_good else "better"
    return "undecided"


def _for_people(differences: pd.DataFrame) -> pd.DataFrame:
    """Return the table with numbers as they are shown."""
    texts = {name: [_signed(value) for value in differences[name]] for name in _NUMBERS[:3]}
    return differences.assign(**texts)


def _signed(value: float) -> str:
    return "" if np.isnan(value) else f"{value:+.4f}"


def _order(methods: Sequence[str]) -> list[str]:
    first = ["loss_gradient", SUM, "loss_gradient_x_input", SUM_X_INPUT, "integrated_gradients"]
    return [each for each in first if each in methods] + sorted(set(methods) - set(first))


def _draw(axes: Axes, scores: pd.DataFrame, rows: pd.DataFrame, measure: str, methods: Sequence[str]) -> None:
    for line, method in enumerate(methods):
        if method not in scores.index:
            continue
        row = scores.loc[method]
        axes.hlines(line, row["low"], row["high"], color=_BAR, linewidth=5)
        seeds = rows[rows["method"] == method].groupby("trial")[measure].mean()
        axes.plot(seeds, [line] * len(seeds), ".", color=_SEED, markersize=4)
        axes.plot(row["mean"], line, "o", color=_DOT, markersize=5)
    axes.set_ylim(len(methods) - 0.5, -0.5)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the differences, write tables and figure, and print their paths."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.training.proposal",
        description="The gradient integrated over training, scored.",
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="attribution sweeps with --training, one a training"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="where files are written")
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="of the printed table (%(default)s)"
    )
    options = parser.parse_args(arguments)
    rows = scored_images(options.runs)
    scores, differences = proposal_scores(rows), proposal_differences(rows)
    print(text_table(_for_people(differences), options.format))
    for name, table in (("proposal-scores", scores), ("proposal-differences", differences)):
        for path in save_table(table, options.output, name):
            print(path)
    for path in save_pages([("proposal", proposal_figure(rows, scores))], options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
