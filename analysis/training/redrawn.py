"""Similarity of the gradient with its input where layers of the trained network are re-drawn.

Beside the untrained network it tells what the architecture's first layers alone do: only the last layers are
random. The rows are those of `attribute_all.py --training RUN --checkpoints randomized:1 --methods loss_gradient`.
"""

import numpy as np
import pandas as pd

from analysis.attribution.attributions import STATIC, attribution_portions, attribution_rows, load_images
from analysis.attribution.checkpoints import UNTRAINED, num_redrawn
from analysis.intervals import mean_interval
from analysis.run import AnyRun, open_sweep
from analysis.training.similarity import MEASURES, similarities


def redrawn_similarity(training: AnyRun, run: AnyRun, *, method: str = "loss_gradient") -> pd.DataFrame:
    """Return the similarity at each set of re-drawn weights of an attribution sweep, over the training's panel.

    Columns: `checkpoint`, `measure`, `mean`, `low`, `high` (95 %), `count`. Raises ValueError for a sweep without
    re-drawn weights, and for one of images that the training did not follow.
    """
    run = open_sweep(run, STATIC)
    rows = attribution_rows(run, methods=[method])
    rows = rows[rows["checkpoint"].astype(str).map(_is_redrawn)]
    if rows.empty:
        raise ValueError(
            f"{run} has no re-drawn weights: give --checkpoints randomized:1 to attribute_all.py"
        )
    panel = attribution_rows(training)
    panel = panel[panel["image_key"].notna()].drop_duplicates("image_index").set_index("image_index")
    if missing := sorted(set(rows["image_index"]) - set(panel.index)):
        raise ValueError(
            f"{run} has image {missing[0]}, which the training did not follow: give it --training"
        )
    images = load_images(training, panel.reset_index())
    parts = []
    for portion, values in attribution_portions(run, rows):
        keys = panel["image_key"].astype(str).loc[portion["image_index"]].tolist()
        measured = similarities(np.abs(values), keys, images)
        parts.append(measured.assign(checkpoint=portion["checkpoint"].astype(str).to_numpy()))
    return _over_images(pd.concat(parts))


def _is_redrawn(checkpoint: str) -> bool:
    return checkpoint != UNTRAINED and bool(num_redrawn(checkpoint))


def _over_images(measured: pd.DataFrame) -> pd.DataFrame:
    table = []
    for checkpoint, group in measured.groupby("checkpoint"):
        mean, low, high, count = mean_interval(group[list(MEASURES)].to_numpy())
        table += [(checkpoint, *row) for row in zip(MEASURES, mean, low, high, count, strict=True)]
    found = pd.DataFrame(table, columns=["checkpoint", "measure", "mean", "low", "high", "count"])
    return found.sort_values(
        "checkpoint", key=lambda names: names.map(num_redrawn), kind="stable"
    ).reset_index(drop=True)
