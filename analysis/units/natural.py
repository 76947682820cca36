"""Rows of natural images that activate units or classes most, and the run whose images stand beside another's.

In a run of classes, `layer` is `LOGITS` and a unit is a class's index and name.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from analysis.html.choices import asked_for, in_order
from analysis.run import Run, open_sweep
from analysis.units.rows import SYNTHETIC, UNIT, as_text, in_orders, unit_order

NATURAL, GENERATED = "activations", "generate"
LOGITS = "logits"
MOST_NATURAL = 9

_COLUMNS = [
    *("model", "image_file", "image_key", *UNIT, "class_index", "class_name", "activation", "row", "column"),
    *("dataset", "split", "image_index", "label", "label_name"),
]


def load_natural(run: Run, most: int = MOST_NATURAL) -> pd.DataFrame:
    """Return the `most` strongest images of each unit or class, from 1 by `rank`.

    Each shard of the run holds its own strongest images. Of equal activations the image with the smaller index
    comes first.
    """
    rows = run.results(_COLUMNS)
    if rows["layer"].isna().all():
        names = rows["class_index"].astype(int).astype(str) + " " + rows["class_name"].astype(str)
        rows = rows.assign(layer=LOGITS, unit=names)
    rows = as_text(rows, [*UNIT, "label_name"])
    rows = rows.sort_values(["activation", "image_index"], ascending=[False, True], kind="stable")
    rows = rows.assign(rank=rows.groupby(UNIT).cumcount() + 1)
    rows = rows[rows["rank"] <= most]
    layers = in_order(rows["layer"].unique(), _asked_layers(run))
    return in_orders(rows, {"layer": layers, "unit": unit_order(rows["unit"])}, ["rank"])


def open_natural(natural: str, run: Run) -> Run:
    """Open the run of natural images that stand beside the pictures of a run of units, or of classes.

    Raises ValueError for a run of another kind or model, and for one that has none of the units or classes.
    """
    found = open_sweep(natural, NATURAL)
    if run.kind not in (SYNTHETIC, GENERATED):
        raise ValueError(
            f"natural={found.url!r}: {run.url} is of kind {run.kind!r}; accepted are runs of generate_all.py, "
            "of units or classes"
        )
    for field in ("model", "model_digest"):
        ours, theirs = (str(each.results([field])[field].iloc[0]) for each in (run, found))
        if ours != theirs:
            raise ValueError(
                f"natural={found.url!r}: {field} is {theirs!r}, that of {run.url} is {ours!r}; accepted is a run "
                "of activations_all.py with the same model and weights"
            )
    ours, theirs = _names(run), _names(found)
    if not ours & theirs:
        raise ValueError(
            f"natural={found.url!r}: it has {_in_words(theirs)}, {run.url} has {_in_words(ours)}; accepted is a "
            "run of activations_all.py that has some of them"
        )
    return found


def with_natural(runs: Sequence[Run], natural: str) -> list[Run]:
    """Return the runs of a report, those of units or classes with the natural images that stand beside them.

    Raises ValueError if there is no such run, and as `open_natural` does for each of them.
    """
    is_of_units = bool(open_sweep(natural, NATURAL).results(["layer"])["layer"].notna().any())
    kind, what = (SYNTHETIC, "units") if is_of_units else (GENERATED, "classes")
    if not any(run.kind == kind for run in runs):
        raise ValueError(
            f"natural={natural!r}: it is of {what}, and no other run is; accepted beside it are runs of "
            f"generate_all.py of {what}"
        )
    return [replace(run, natural=open_natural(natural, run)) if run.kind == kind else run for run in runs]


def _asked_layers(run: Run) -> list[str]:
    """Return the layers in the order in which the run was asked for them, by `LAYER:UNIT`."""
    return list(dict.fromkeys(text.partition(":")[0] for text in asked_for(run, "unit_of_layer")))


def _names(run: Run) -> set[str]:
    """Return the units and classes of a run by name."""
    rows = run.results(
        [name for name in (*UNIT, "class_index") if name in run.column_names]
    ).drop_duplicates()
    if "layer" in rows and rows["layer"].notna().any():
        return {f"{layer}:{unit}" for layer, unit in zip(rows["layer"], rows["unit"], strict=True)}
    return {f"class {index}" for index in rows["class_index"].astype(int)}


def _in_words(names: set[str]) -> str:
    """Return how many units or classes there are, and one of them."""
    return f"{len(names)} such as {min(names)}"
