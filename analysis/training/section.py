"""The section of attribution along training: loss and accuracy of all trainings, and some of them in detail."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.attribution.attributions import attribution_rows
from analysis.html.choices import asked_for, evenly, in_order
from analysis.html.site import Section, Site
from analysis.html.step_curves import NUM_COLORS, Chart, chart
from analysis.run import Source
from analysis.training.recapitulation import training_curve
from analysis.training.trials import write_trial

# Each has a video; more would be most of the report.
MOST_TRIALS = 3
# Of a training's states, in the mean that is drawn.
_SMOOTHED_SHARE = 0.02


def section(source: Source, site: Site) -> Section:
    """The section of a run along training; also writes its videos, pictures and tables."""
    title = f"Attribution along training: {source.name}"
    if source.status.num_rows == 0:
        return Section(id=source.id, title=title, html=site.render("no_rows.html", source=source))
    rows = attribution_rows(source.url)
    methods = in_order(rows["method"].unique(), asked_for(source, "method"))
    curve = training_curve(rows.drop_duplicates(["trial", "step", "image_index"]))
    trials = in_order(rows["trial"].unique(), asked_for(source, "trial"))
    shown = evenly(trials, MOST_TRIALS)
    drawn = evenly(trials, NUM_COLORS)
    html = site.render(
        "training.html",
        source=source,
        models=_listed(rows, "model"),
        datasets=_listed(rows, "dataset"),
        num_images=rows["image_index"].nunique(),
        num_states=curve["step"].nunique(),
        last_step=int(curve["step"].max()),
        methods=methods,
        window=_window(curve),
        charts=_charts(curve, drawn),
        num_drawn=len(drawn),
        trials=[_summary(rows, curve[curve["trial"] == trial], trial) for trial in trials],
        details=[
            write_trial(source, site, number, rows[rows["trial"] == trial])
            for number, trial in enumerate(shown)
        ],
        files=[("CSV", site.table(f"{source.id}/training-curve.csv", curve))],
    )
    return Section(id=source.id, title=title, html=html)


def _listed(rows: pd.DataFrame, column: str) -> list[str]:
    return sorted(map(str, rows[column].unique()))


def _window(curve: pd.DataFrame) -> int:
    """States in a mean that is drawn: the loss of single minibatches jumps."""
    return max(1, round(curve["step"].nunique() * _SMOOTHED_SHARE))


def _charts(curve: pd.DataFrame, trials: Sequence[str]) -> dict[str, Chart]:
    """Loss and accuracy by step, a curve for each trial."""
    window = _window(curve)
    charts = {}
    for column in ("training_loss", "accuracy"):
        table = curve.pivot(index="step", columns="trial", values=column)[list(trials)].astype(float)
        smooth = table.rolling(window, center=True, min_periods=1).mean()
        # A run that has no state but the untrained one has no loss.
        high = 1.0 if column == "accuracy" else float(np.nan_to_num(smooth.max().max(), nan=1.0))
        scale = 100 if column == "accuracy" else 1
        series = {str(trial): (scale * smooth[trial]).tolist() for trial in trials}
        charts[column] = chart(series, low=0, high=scale * high, steps=table.index.tolist())
    return charts


def _summary(rows: pd.DataFrame, curve: pd.DataFrame, trial: str) -> dict[str, Any]:
    """What the table says of a training."""
    first, ordered = rows[rows["trial"] == trial].iloc[0], curve.sort_values("step")
    start = ordered[ordered["step"] == 0]
    return {
        "name": trial,
        "model": str(first["model"]),
        "learning_rate": float(first["learning_rate"]),
        "seed": int(first["seed"]),
        "last_step": int(ordered["step"].iloc[-1]),
        "loss": float(ordered["training_loss"].tail(_window(curve)).mean()),
        "before": None if start.empty else float(start["accuracy"].iloc[0]),
        "after": float(ordered["accuracy"].iloc[-1]),
    }
