"""What a report says of modified images: by target, how many became it, and how large a change it took."""

import numpy as np
import pandas as pd

from analysis.generation.modifications import names_of
from analysis.html.heatmaps import Heading, Heatmap, heatmap
from analysis.intervals import mean_interval, wilson_interval

# Beyond this many labels or targets, a table of both is a picture.
MOST_CLASSES = 20

_QUARTILES = {"lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75}


def target_table(frame: pd.DataFrame) -> pd.DataFrame:
    """By `target` and `target_name`, of the images of other classes: how many became the target, and by how much.

    `rate` of the `count` images are taken for the target in the end, with its interval `low` to `high` (Wilson,
    95 %); `reached` is the share that was taken for it at any step. `mean`, `mean_low` and `mean_high` (Student,
    95 %), `lower_quartile`, `median` and `upper_quartile` are of the l2 norm of the change when that was so for
    the first time, over those images; `steps` is the median of the steps it took. `final_l2` and `final_linf` are
    means after all steps, of all images. Norms are in pixel units of [0, 1].
    """
    others = frame[frame["target"] != frame["label"]]
    parts = [_facts(rows) | {"target": target} for target, rows in others.groupby("target", observed=True)]
    names = frame.drop_duplicates("target").set_index("target")["target_name"]
    table = pd.DataFrame(parts, columns=["target", *_facts(others)]).sort_values("target", ignore_index=True)
    table.insert(1, "target_name", table["target"].map(names).astype(str))
    return table


def _facts(rows: pd.DataFrame) -> dict[str, float]:
    became = int((rows["prediction"] == rows["target"]).sum())
    low, high = wilson_interval(became, len(rows))
    mean, mean_low, mean_high, num_reached = mean_interval(rows["hit_l2"].to_numpy(float))
    return {
        "count": len(rows),
        "rate": became / len(rows) if len(rows) else np.nan,
        "low": float(low),
        "high": float(high),
        "reached": int(num_reached) / len(rows) if len(rows) else np.nan,
        "mean": float(mean),
        "mean_low": float(mean_low),
        "mean_high": float(mean_high),
        **{name: rows["hit_l2"].quantile(share) for name, share in _QUARTILES.items()},
        "steps": rows["first_hit_step"].median(),
        "final_l2": rows["l2"].mean(),
        "final_linf": rows["linf"].mean(),
    }


def pair_heatmaps(table: pd.DataFrame) -> dict[str, Heatmap] | None:
    """Labels by targets, of a table of `analysis.generation.modifications`; None for too many classes."""
    labels, targets = names_of(table, "label"), names_of(table, "target")
    if max(len(labels), len(targets)) > MOST_CLASSES:
        return None
    norms, kept = (
        table.pivot(index="label", columns="target", values=column).reindex(
            index=[*labels], columns=[*targets]
        )
        for column in ("mean", "kept")
    )
    norm_values, kept_values = norms.to_numpy(float), kept.to_numpy(float)
    largest = float(np.nanmax(norm_values, initial=0)) or 1.0
    headings = {
        "corner": "Label",
        "columns": [
            Heading(text=str(index), more=name.removeprefix(f"{index} ")) for index, name in targets.items()
        ],
        "rows": [Heading(text=name) for name in labels.values()],
        "mark_own": True,
    }
    return {
        "kept": heatmap(kept, lambda row, column: f"{100 * kept_values[row, column]:.0f}", **headings),
        "norms": heatmap(norms / largest, lambda row, column: f"{norm_values[row, column]:.2f}", **headings),
    }
