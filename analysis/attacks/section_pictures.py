"""Some images of an attack's run: clean, their perturbation, and what became of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.attacks.rows import COLUMNS, initially_correct, row_portions
from analysis.attacks.section_tables import ALONE, View, view_numbers
from analysis.attacks.success_rates import successes
from analysis.html.choices import spread
from analysis.html.pictures import (
    Album,
    Picture,
    Pixels,
    Triptych,
    plain_name,
    stored_images,
    stretched_difference,
    taken_for,
)
from analysis.result_files import concat_rows
from analysis.run import Source

NUM_TRIPTYCHS = 8

_KEYS = ("clean_key", "perturbation_key", "image_key")
_COLUMNS = (
    *COLUMNS,
    "clean_confidence",
    "adversarial_confidence",
    *(f"{key.removesuffix('_key')}_{part}" for key in _KEYS for part in ("file", "key")),
)


def choose_rows(source: Source, shown: Sequence[View]) -> list[pd.DataFrame]:
    """For each view some rows with a stored image, misled and not, over the classes evenly.

    Images that were right to begin with, where there are any: of the others nothing had to be changed.
    """
    kept: list[pd.DataFrame] = []
    for portion in row_portions(source.url, _COLUMNS):
        stored = portion[portion["image_key"].notna() & portion["clean_key"].notna()]
        kept = [_first_of_each(concat_rows([*kept, _candidates(stored, shown)]))]
    rows = kept[0]
    return [_chosen(rows[rows["view"] == number], view) for number, view in enumerate(shown)]


def _candidates(rows: pd.DataFrame, shown: Sequence[View]) -> pd.DataFrame:
    hit = successes(rows.assign(target=rows["target"].astype("Int32")))
    rows = rows.assign(view=view_numbers(rows, shown), hit=hit, right=initially_correct(rows))
    # Neither misled nor not: the label is the target.
    rows = rows[(rows["view"] >= 0) & rows["hit"].notna()]
    return rows.assign(hit=rows["hit"].astype(bool))


def _first_of_each(rows: pd.DataFrame) -> pd.DataFrame:
    """As many rows of each kind as might be chosen."""
    ordered = rows.sort_values("image_index", kind="stable")
    return ordered.groupby(["view", "label", "hit", "right"], observed=True).head(NUM_TRIPTYCHS)


def _chosen(rows: pd.DataFrame, view: View) -> pd.DataFrame:
    rows = rows[rows["right"]] if rows["right"].any() else rows
    # Without a minimum the image is that at ε = 1, of which nothing is left.
    rows = rows[rows["hit"]] if view.epsilon is None and rows["hit"].any() else rows
    return spread(rows, rows["hit"], "label", NUM_TRIPTYCHS)


def write_triptychs(
    source: Source, album: Album, rows: pd.DataFrame, names: Mapping[int, str]
) -> list[Triptych]:
    """Writes the pictures of the rows of a view; `names` are those of classes by index."""
    images = stored_images(source.url, rows, _KEYS)
    return [_triptych(row, album, images, names) for row in rows.to_dict("records")]


def _triptych(
    row: Mapping[Any, Any], album: Album, images: Mapping[str, Pixels], names: Mapping[int, str]
) -> Triptych:
    index, label = row["image_index"], row["label"]
    clean = album.picture(
        row["clean_key"],
        images[row["clean_key"]],
        name="clean",
        alt=f"image {index} as it is",
        caption=taken_for(row["clean_prediction"], row["clean_confidence"], names),
        right=row["clean_prediction"] == label,
    )
    adversarial = album.picture(
        row["image_key"],
        images[row["image_key"]],
        name="adversarial",
        alt=f"image {index} under {row['method']}",
        caption=taken_for(row["adversarial_prediction"], row["adversarial_confidence"], names),
        right=row["adversarial_prediction"] == label,
    )
    title = f"image {index}, {plain_name(label, names)}"
    if not pd.isna(row["target"]):
        title += f", towards {plain_name(int(row['target']), names)}"
    return Triptych(title=title, pictures=[clean, _perturbation(row, album, images), adversarial])


def _perturbation(row: Mapping[Any, Any], album: Album, images: Mapping[str, Pixels]) -> Picture:
    """The stored direction, or what the image was changed by; the size of the step stands below."""
    size = "no ε up to 1" if np.isnan(row["epsilon"]) else f"ε = {255 * row['epsilon']:.3g}/255"
    alt = f"perturbation of image {row['image_index']} by {row['method']}"
    if isinstance(row["perturbation_key"], str):
        key = row["perturbation_key"]
        return album.picture(key, images[key], name="perturbation", alt=alt, caption=size)
    after = images[row["image_key"]]
    before = np.zeros_like(after) if row["method"] == ALONE else images[row["clean_key"]]
    change, _ = stretched_difference(before, after)
    return album.picture(f"{row['image_key']} change", change, name="change", alt=alt, caption=size)
