"""Recapitulation on a page: how alike the loss gradient and its input are along a training, and what it gained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.attribution.attributions import attribution_values
from analysis.attribution.grids import load_images
from analysis.html.site import Site
from analysis.html.step_curves import Chart, chart
from analysis.intervals import mean_interval
from analysis.run import Source
from analysis.training.recapitulation import (
    MEASURES,
    METHOD,
    recapitulation,
    recapitulation_figure,
    similarities,
    training_curve,
)

# More are not seen in a chart, and each takes a millisecond and more.
MOST_STATES = 500


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Similarity by step, and for each measure what it was before and after; `gains` is empty without both."""

    chart: Chart
    gains: Sequence[dict[str, Any]]
    last_step: int
    num_images: int
    files: Sequence[tuple[str, str]]

    @property
    def more(self) -> list[str]:
        """The measures that surely rose."""
        return [gain["measure"] for gain in self.gains if gain["low"] > 0]

    @property
    def less(self) -> list[str]:
        """The measures that surely fell."""
        return [gain["measure"] for gain in self.gains if gain["high"] < 0]


def write_likeness(source: Source, site: Site, folder: str, rows: pd.DataFrame) -> Likeness | None:
    """The likeness along the training of these rows; None where nobody asked for its loss gradient.

    ValueError where an image was not stored.
    """
    rows = rows[rows["method"] == METHOD]
    if rows.empty:
        return None
    steps, trial = np.unique(rows["step"]), str(rows["trial"].iloc[0])
    every = max(1, int(np.median(np.diff(steps)))) if len(steps) > 1 else 1
    table = recapitulation(source.url, trials=[trial], every=every * -(-len(steps) // MOST_STATES))
    subject = f"{rows['model'].iloc[0]}, {METHOD}, {trial}"
    drawn = recapitulation_figure(
        table, training_curve(rows), title=f"{subject}: recapitulation of the input"
    )
    return Likeness(
        chart=_chart(table),
        gains=_gains(source, rows, int(steps[0]), int(steps[-1])),
        last_step=int(steps[-1]),
        num_images=int(table["count"].max()),
        files=[
            ("CSV", site.table(f"{folder}/recapitulation.csv", table)),
            ("figure as PNG", site.figure(f"{folder}/recapitulation.png", drawn)),
        ],
    )


def _chart(table: pd.DataFrame) -> Chart:
    by = {
        column: table.pivot(index="step", columns="measure", values=column)
        for column in ("mean", "low", "high")
    }
    edges = pd.concat([by["low"], by["high"], by["mean"]]).to_numpy(float)
    known = edges[np.isfinite(edges)]
    steps = by["mean"].index.tolist()
    return chart(
        {MEASURES[measure]: by["mean"][measure].tolist() for measure in MEASURES},
        low=min(0.0, float(known.min(initial=0))),
        high=float(known.max(initial=0)),
        steps=steps,
        bands={MEASURES[each]: (by["low"][each].tolist(), by["high"][each].tolist()) for each in MEASURES},
        levels={MEASURES[each]: by["mean"][each].iloc[0] for each in MEASURES if steps[0] == 0},
    )


def _gains(source: Source, rows: pd.DataFrame, first: int, last: int) -> list[dict[str, Any]]:
    """Each measure of the untrained network and the last state, and the mean change, image by image."""
    before, after = (
        rows[rows["step"] == step].sort_values("image_index").reset_index(drop=True) for step in (first, last)
    )
    if first != 0 or last == 0 or list(before["image_index"]) != list(after["image_index"]):
        return []
    old, new = (_similarities(source, state) for state in (before, after))
    gains = []
    for measure, name in MEASURES.items():
        mean, low, high, _ = mean_interval(new[measure] - old[measure])
        held = {"mean": float(mean), "low": float(low), "high": float(high)}
        gains.append({"measure": name, "before": old[measure].mean(), "after": new[measure].mean(), **held})
    return gains


def _similarities(source: Source, rows: pd.DataFrame) -> pd.DataFrame:
    sizes = np.abs(attribution_values(source.url, rows))
    return similarities(sizes, list(rows["image_key"]), load_images(source.url, rows))
