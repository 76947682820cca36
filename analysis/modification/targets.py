"""Each target: how many images of other classes became it, and how large a change it took."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.html.site import Site
from analysis.intervals import mean_interval, wilson_interval
from analysis.modification.own_label import own_and_other, sentence
from analysis.run import Run

_QUARTILES = {"lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75}


def target_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return by `target` and `target_name`, over the images of other classes, how many became it and how far.

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


def html(run: Run, site: Site, frame: pd.DataFrame, files: Sequence[tuple[str, str]]) -> Markup:
    """Render the table of the targets and the comparison with the own label; write the table as CSV too.

    `files` are names and paths of other tables to download.
    """
    table = target_table(frame)
    path = site.table(f"{run.id}/modification-targets.csv", table)
    return site.render(
        "modification_targets.html",
        run=run,
        rows=table.to_dict("records"),
        own_label=sentence(own_and_other(frame)),
        files=[("targets as CSV", path), *files],
    )
