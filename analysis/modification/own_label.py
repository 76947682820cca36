"""Is an image changed less towards its own label than towards other classes? A table and a sentence."""

import pandas as pd

from analysis.html.formatting import count, number
from analysis.intervals import mean_interval


def own_and_other(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the l2 norm of the change towards an image's own label and towards other classes.

    Columns: `measure`, `towards`, `mean`, `low`, `high` (95 %), `count`. The measures are `hit_l2`, when the
    target was first predicted, and `l2`, after all steps. The same images stand on both sides, each once, with the
    mean over the targets that have a value; images without one on both sides are left out. `difference` is other
    minus own, image by image.
    """
    own = (frame["target"] == frame["label"]).map({True: "own label", False: "other classes"})
    parts = []
    for measure in ("hit_l2", "l2"):
        norms = frame.groupby(["image_index", own])[measure].mean().unstack()
        norms = norms.reindex(columns=["own label", "other classes"]).dropna()
        norms["difference"] = norms["other classes"] - norms["own label"]
        mean, low, high, num_images = mean_interval(norms.to_numpy())
        columns = {"towards": list(norms), "mean": mean, "low": low, "high": high, "count": num_images}
        parts.append(pd.DataFrame({"measure": measure, **columns}))
    return pd.concat(parts, ignore_index=True)


def sentence(table: pd.DataFrame) -> str:
    """Say what a table of `own_and_other` measured at the first hit; empty for fewer than two images.

    The figure and the report both say it.
    """
    own, other, difference = table[table["measure"] == "hit_l2"].itertuples(index=False)
    if difference.count < 2:
        return ""
    low, high = number(difference.low, 2), number(difference.high, 2)
    return (
        f"Towards their own label images needed an l2 norm of {number(own.mean, 2)}, towards other classes "
        f"{number(other.mean, 2)}: {number(difference.mean, 2)} more (95 % interval {low} to {high}, "
        f"{count(int(difference.count), 'image')})."
    )
