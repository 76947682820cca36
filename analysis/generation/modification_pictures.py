"""Some modified images: the image as it was, what was changed, and what it became."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.attacks.rows import recorded_class_names
from analysis.generation.modifications import names_of
from analysis.html.choices import spread
from analysis.html.pictures import (
    Album,
    Pixels,
    Triptych,
    plain_name,
    stored_images,
    stretched_difference,
    taken_for,
)
from analysis.html.site import Site
from analysis.run import Source

NUM_TRIPTYCHS = 12

_KEYS = ("clean_key", "image_key")


def choose_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Some rows with stored images towards other classes than their own, over the targets and outcomes evenly."""
    stored = frame[frame["image_key"].notna() & frame["clean_key"].notna()]
    stored = stored[stored["target"] != stored["label"]]
    if stored.empty:
        return stored
    # Each target begins with another image: the first of all targets would be one and the same.
    image, target = (stored[column].rank(method="dense") for column in ("image_index", "target"))
    stride = max(1, image.max() // target.max())
    ordered = stored.assign(turn_=(image - stride * target) % image.max()).sort_values("turn_", kind="stable")
    return spread(ordered, ordered["prediction"] == ordered["target"], "target", NUM_TRIPTYCHS)


def write_triptychs(source: Source, site: Site, frame: pd.DataFrame, rows: pd.DataFrame) -> list[Triptych]:
    """Writes the pictures of some rows of the run's frame."""
    names = names_of(frame, "label") | names_of(frame, "target") | recorded_class_names(source.url)
    images, album = stored_images(source.url, rows, _KEYS), Album(site, f"{source.id}/pictures")
    return [_triptych(row, album, images, names) for row in rows.to_dict("records")]


def _triptych(
    row: Mapping[Any, Any], album: Album, images: Mapping[str, Pixels], names: Mapping[int, str]
) -> Triptych:
    index, before, after = row["image_index"], images[row["clean_key"]], images[row["image_key"]]
    target = plain_name(row["target"], names)
    change, largest = stretched_difference(before, after)
    pictures = [
        album.picture(
            row["clean_key"],
            before,
            name="original",
            alt=f"image {index} as it is",
            caption=taken_for(row["initial_prediction"], row["initial_confidence"], names),
            right=row["initial_prediction"] == row["label"],
        ),
        album.picture(
            row["image_key"],
            after,
            name="modified",
            alt=f"image {index} modified towards {target}",
            caption=taken_for(row["prediction"], row["confidence"], names),
            right=row["prediction"] == row["target"],
        ),
        album.picture(
            f"{row['image_key']} change",
            change,
            name="difference",
            alt=f"what was changed of image {index}",
            caption=f"up to {255 * largest:.0f}/255, l2 norm {row['l2']:.2f}",
        ),
    ]
    return Triptych(title=f"image {index}, {plain_name(row['label'], names)} → {target}", pictures=pictures)
