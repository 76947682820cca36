"""Rows of synthetic pictures of units, and the order in which all views show units."""

import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from analysis.html.choices import asked_for, in_order
from analysis.run import Run

SYNTHETIC = "units"
UNIT = ["layer", "unit"]

_COLUMNS = ["model", "image_file", "image_key", *UNIT, "activation", "recipe", "seed", "member"]


def load_synthetic(run: Run) -> pd.DataFrame:
    """Return a row per synthetic picture, by layer, unit, recipe, seed and member."""
    rows = as_text(run.results(_COLUMNS), [*UNIT, "recipe"])
    layers = in_order(rows["layer"].unique(), asked_for(run, "layer"))
    recipes = in_order(rows["recipe"].unique(), asked_for(run, "recipe"))
    orders = {"layer": layers, "unit": unit_order(rows["unit"]), "recipe": recipes}
    return in_orders(rows, orders, ["seed", "member"])


def unit_order(units: Iterable[str]) -> list[str]:
    """Return the names of units, each once, with numbers in the order of numbers: 2, 10, 10:center."""
    return sorted(set(units), key=lambda name: [_part(part) for part in re.split(r"(\d+)", name)])


def _part(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (-1, text)


def as_text(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows with these columns as plain text, no categories: groups of none would follow from those."""
    return rows.assign(**{name: rows[name].astype(str) for name in columns})


def in_orders(rows: pd.DataFrame, orders: Mapping[str, Sequence[str]], more: Sequence[str]) -> pd.DataFrame:
    """Return the rows sorted by columns with an order of their own, and then by those of `more`."""
    places = {
        name: rows[name].map({value: place for place, value in enumerate(order)})
        for name, order in orders.items()
    }
    keys = pd.DataFrame(places).join(rows[list(more)])
    return rows.loc[keys.sort_values(list(keys.columns), kind="stable").index].reset_index(drop=True)
