"""Training loss, and accuracy on the panel, by step.

`training_curve` computes the table; `draw_training` (the lower panel of a figure) and `curves_html` (report) show
the same running means of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from analysis.drawing.charts import share_axis, style_axes
from analysis.drawing.image_grid import NOTE
from analysis.html.choices import evenly
from analysis.html.site import Site
from analysis.html.step_curves import NUM_COLORS, Chart, chart

# Share of a training's states in the running mean that is drawn: the loss of single minibatches jumps.
_SMOOTHED_SHARE = 0.02
LOSS_COLOR, _ACCURACY_COLOR = "#8a6d3b", "#1f2328"


def training_curve(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per trial and step: `trial`, `step`, `training_loss` and `accuracy`.

    The loss is that of the minibatch that led to the state, the accuracy that of the panel.
    """
    facts = rows.assign(accuracy=rows["label"] == rows["prediction"])
    groups = facts.groupby(["trial", "step"], observed=True)
    return groups.agg(training_loss=("training_loss", "first"), accuracy=("accuracy", "mean")).reset_index()


def smoothing_window(num_states: int) -> int:
    """Return how many states are in a running mean of the curves of a training with so many."""
    return max(1, round(num_states * _SMOOTHED_SHARE))


def smoothed(values: pd.Series, window: int) -> pd.Series:
    """Return the centred running mean over `window` values, with fewer at the ends; NaN is no value."""
    return values.astype(float).rolling(window, center=True, min_periods=1).mean()


def draw_training(axes: Axes, curve: pd.DataFrame) -> None:
    """Draw one trial's rows of `training_curve`: loss on the left axis, accuracy on the right one."""
    curve = curve.sort_values("step")
    window = smoothing_window(len(curve))
    axes.plot(curve["step"], curve["training_loss"], color=LOSS_COLOR, linewidth=0.5, alpha=0.35)
    axes.plot(curve["step"], smoothed(curve["training_loss"], window), color=LOSS_COLOR, linewidth=1.2)
    style_axes(axes, x="step (minibatches)", y="training loss")
    axes.yaxis.label.set_color(LOSS_COLOR)
    right = axes.twinx()
    right.plot(curve["step"], smoothed(curve["accuracy"], window), color=_ACCURACY_COLOR, linewidth=0.9)
    style_axes(right, y="panel accuracy")
    share_axis(right)
    right.grid(visible=False)
    right.yaxis.label.set(color=_ACCURACY_COLOR, size=NOTE.size)


def curves_html(
    curve: pd.DataFrame, rows: pd.DataFrame, site: Site, folder: str, *, trials: Sequence[str]
) -> Markup:
    """Write the table of `training_curve` to a folder of the report, and return charts and facts as HTML.

    `rows` say what each trial is, `trials` is their order; `folder` also begins the anchors.
    """
    drawn = evenly(trials, NUM_COLORS)
    window = smoothing_window(curve["step"].nunique())
    return site.render(
        "training_curves.html",
        id=folder,
        window=window,
        charts=_charts(curve, drawn, window),
        num_drawn=len(drawn),
        num_images=rows["image_index"].nunique(),
        trials=[_facts(rows, curve[curve["trial"] == trial], trial, window) for trial in trials],
        files=[("CSV", site.table(f"{folder}/training-curve.csv", curve))],
    )


def _charts(curve: pd.DataFrame, trials: Sequence[str], window: int) -> dict[str, Chart]:
    """Return a chart of the loss and one of the accuracy in percent, a curve for each trial."""
    charts = {}
    for column, scale in (("training_loss", 1), ("accuracy", 100)):
        table = curve.pivot(index="step", columns="trial", values=column)[list(trials)]
        means = scale * table.apply(lambda values: smoothed(values, window))
        # A run that has only the untrained network has no loss.
        high = 100.0 if column == "accuracy" else float(np.nan_to_num(means.max().max(), nan=1.0))
        series = {str(trial): means[trial].tolist() for trial in trials}
        charts[column] = chart(series, low=0, high=high, steps=table.index.tolist())
    return charts


def _facts(rows: pd.DataFrame, curve: pd.DataFrame, trial: str, window: int) -> dict[str, Any]:
    """Return the row of a trial in the table of trainings."""
    first, ordered = rows[rows["trial"] == trial].iloc[0], curve.sort_values("step")
    start = ordered[ordered["step"] == 0]
    return {
        "name": trial,
        "model": str(first["model"]),
        "learning_rate": float(first["learning_rate"]),
        "seed": int(first["seed"]),
        "last_step": int(ordered["step"].iloc[-1]),
        "loss": float(ordered["training_loss"].tail(window).mean()),
        "before": None if start.empty else float(start["accuracy"].iloc[0]),
        "after": float(ordered["accuracy"].iloc[-1]),
    }
