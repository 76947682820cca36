"""Tables of units: how strongly synthetic pictures and natural images activate them, and what the latter show.

`purity` is the share of a unit's strongest natural images that bear their most frequent label, `label_name`: 1
for a unit that one class alone activates most. `ratio` is the mean activation of the synthetic pictures over that
of the strongest natural image; it has no value where the latter is not positive.
"""

import pandas as pd

from analysis.units.rows import UNIT


def unit_table(synthetic: pd.DataFrame | None, natural: pd.DataFrame | None) -> pd.DataFrame:
    """Return a row per unit and recipe, or per unit alone where there are no synthetic pictures.

    Columns: `layer`, `unit`; with synthetic pictures `recipe`, `num_pictures`, `activation` (mean) and
    `activation_max`; with natural images `num_natural`, `natural_activation` (the strongest), `natural_mean`,
    `purity`, `label_name` and, of classes, `own_share`: the share that is labelled as the class; with both
    `ratio`.
    """
    if synthetic is None or natural is None:
        [table] = [
            make(rows)
            for make, rows in ((_of_synthetic, synthetic), (_of_natural, natural))
            if rows is not None
        ]
        return table
    table = _of_synthetic(synthetic).merge(_of_natural(natural), on=UNIT, how="left")
    positive = table["natural_activation"].where(table["natural_activation"] > 0)
    return table.assign(ratio=table["activation"] / positive)


def layer_table(units: pd.DataFrame) -> pd.DataFrame:
    """Return a row per layer, and per recipe where there are synthetic pictures, from a table of units.

    `num_units`, the sums of `num_pictures` and `num_natural`, and the means over units of `activation`,
    `natural_activation`, `purity` and `own_share`; of `ratio` the median, since one unit with a small divisor
    would decide a mean.
    """
    by = [name for name in ("layer", "recipe") if name in units]
    sums = [name for name in ("num_pictures", "num_natural") if name in units]
    means = [name for name in ("activation", "natural_activation", "purity", "own_share") if name in units]
    medians = [name for name in ("ratio",) if name in units]
    groups = units.groupby(by, sort=False)
    return pd.concat(
        [
            groups["unit"].nunique().rename("num_units"),
            groups[sums].sum().astype(int),
            groups[means].mean(),
            groups[medians].median(),
        ],
        axis=1,
    ).reset_index()


def _of_synthetic(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby([*UNIT, "recipe"], sort=False)["activation"]
    return groups.agg(num_pictures="size", activation="mean", activation_max="max").reset_index()


def _of_natural(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby(UNIT, sort=False)
    table = pd.DataFrame(
        {
            "num_natural": groups.size(),
            "natural_activation": groups["activation"].max(),
            "natural_mean": groups["activation"].mean(),
            "purity": groups["label_name"].agg(lambda names: names.value_counts(normalize=True).iloc[0]),
            "label_name": groups["label_name"].agg(_most_frequent),
        }
    )
    if rows["class_index"].notna().all():
        is_own = rows["label"] == rows["class_index"]
        table["own_share"] = is_own.groupby([rows[name] for name in UNIT], sort=False).mean()
    return table.reset_index()


def _most_frequent(names: pd.Series) -> str:
    """Return the most frequent name; of several that are, the first, which the strongest image bears."""
    return str(names.value_counts(sort=False).idxmax())
