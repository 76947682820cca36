"""Rows of synthetic pictures and of natural images, with the same names for layers and units.

Both kinds of rows have `layer` and `unit`. In a run of natural images of classes, the layer is `LOGITS`, and a
unit is a class's index and name.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from analysis.html.choices import asked_for, in_order
from analysis.run import Run, open_sweep

SYNTHETIC, NATURAL = "units", "activations"
LOGITS = "logits"
UNIT = ["layer", "unit"]
MOST_NATURAL = 9

_COMMON = ["model", "model_digest", "image_file", "image_key", "layer", "unit", "activation"]
_SYNTHETIC = [*_COMMON, "recipe", "seed", "member"]
_NATURAL = [
    *_COMMON,
    *("class_index", "class_name", "dataset", "split", "image_index", "label", "label_name", "row", "column"),
]


def load_synthetic(run: Run) -> pd.DataFrame:
    """Return a row per synthetic picture, by layer, unit, recipe, seed and member."""
    rows = _as_text(run.results(_SYNTHETIC), [*UNIT, "recipe"])
    layers = in_order(rows["layer"].unique(), asked_for(run, "layer"))
    recipes = in_order(rows["recipe"].unique(), asked_for(run, "recipe"))
    return _sorted(
        rows, {"layer": layers, "unit": unit_order(rows["unit"]), "recipe": recipes}, ["seed", "member"]
    )


def load_natural(run: Run, most: int = MOST_NATURAL) -> pd.DataFrame:
    """Return the `most` strongest images of each unit or class, from 1 by `rank`.

    Each shard of the run holds its own strongest images. Of equal activations the image with the smaller index
    comes first.
    """
    rows = run.results(_NATURAL)
    if rows["layer"].isna().all():
        names = rows["class_index"].astype(int).astype(str) + " " + rows["class_name"].astype(str)
        rows = rows.assign(layer=LOGITS, unit=names)
    rows = _as_text(rows, [*UNIT, "label_name"])
    rows = rows.sort_values(["activation", "image_index"], ascending=[False, True], kind="stable")
    rows = rows.assign(rank=rows.groupby(UNIT).cumcount() + 1)
    rows = rows[rows["rank"] <= most]
    layers = in_order(rows["layer"].unique(), _asked_layers(run))
    return _sorted(rows, {"layer": layers, "unit": unit_order(rows["unit"])}, ["rank"])


def open_natural(natural: str, run: Run) -> Run:
    """Open the run of natural images that stand beside the pictures of a run of units.

    Raises ValueError for a run of another kind or model, and for one that has none of the units.
    """
    if run.kind != SYNTHETIC:
        raise ValueError(
            f"natural={natural!r}: {run.url} is of kind {run.kind!r}; accepted is a run of units"
        )
    found = open_sweep(natural, NATURAL)
    for field in ("model", "model_digest"):
        ours, theirs = (_only(each, field) for each in (run, found))
        if ours != theirs:
            raise ValueError(
                f"natural={found.url!r}: {field} is {theirs!r}, that of {run.url} is {ours!r}; accepted is a run "
                "of activations_all.py with the same model and weights"
            )
    ours, theirs = _units_of(run), _units_of(found)
    if not ours & theirs:
        raise ValueError(
            f"natural={found.url!r}: it is of {_in_words(theirs)}, {run.url} of {_in_words(ours)}; accepted is a "
            "run of activations_all.py that has some of these units"
        )
    return found


def with_natural(runs: Sequence[Run], natural: str) -> list[Run]:
    """Return the runs of a report, each run of units with the natural images that stand beside it.

    Raises ValueError if there is no run of units, and as `open_natural` does for each of them.
    """
    if not any(run.kind == SYNTHETIC for run in runs):
        raise ValueError(
            f"natural={natural!r}: none of the runs is of units; accepted is --natural beside runs of units"
        )
    return [
        replace(run, natural=open_natural(natural, run)) if run.kind == SYNTHETIC else run for run in runs
    ]


def unit_order(units: Iterable[str]) -> list[str]:
    """Return the names of units, each once, with numbers in the order of numbers: 2, 10, 10:center."""
    return sorted(set(units), key=lambda name: [_part(part) for part in re.split(r"(\d+)", name)])


def _part(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (-1, text)


def _asked_layers(run: Run) -> list[str]:
    """Return the layers in the order in which the run was asked for them, by `LAYER:UNIT`."""
    return list(dict.fromkeys(text.partition(":")[0] for text in asked_for(run, "unit_of_layer")))


def _as_text(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows with these columns as plain text, no categories: groups of none would follow from those."""
    return rows.assign(**{name: rows[name].astype(str) for name in columns})


def _sorted(rows: pd.DataFrame, orders: dict[str, list[str]], more: Sequence[str]) -> pd.DataFrame:
    places = {
        name: rows[name].map({value: place for place, value in enumerate(order)})
        for name, order in orders.items()
    }
    keys = pd.DataFrame(places).join(rows[list(more)])
    return rows.loc[keys.sort_values(list(keys.columns), kind="stable").index].reset_index(drop=True)


def _only(run: Run, field: str) -> str:
    """Return the one value that all rows of a run have."""
    return str(run.results([field])[field].iloc[0])


def _units_of(run: Run) -> set[tuple[str, str]]:
    rows = run.results(UNIT).dropna().drop_duplicates()
    return set(zip(rows["layer"].astype(str), rows["unit"].astype(str), strict=True))


def _in_words(units: set[tuple[str, str]]) -> str:
    """Return the first of some units, and how many there are; no units are a run of classes."""
    if not units:
        return "classes"
    layer, unit = min(units)
    return f"{len(units)} units such as {layer}:{unit}"
