"""What a gallery shows: shelves of one layer, a row a unit, its synthetic pictures and its natural images."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.drawing.pages import chunks
from analysis.run import Run
from analysis.units.natural import LOGITS, MOST_NATURAL, NATURAL, load_natural
from analysis.units.rows import load_synthetic

MOST_SYNTHETIC = 8  # pictures of a unit side by side

Pixels = NDArray[np.uint8]
Unit = tuple[str, str]  # layer and unit
ImageName = tuple[str, str]  # the run's URL and the image's key


@dataclass(frozen=True, kw_only=True)
class UnitPicture:
    """A picture of a unit: which image it is, and what a reader is told of it.

    `label` is that of a natural image, and `mark` the row and column of its pixel where the unit is activated
    most, None for a layer without places.
    """

    image: ImageName | None
    activation: float
    label: str = ""
    mark: tuple[int, int] | None = None

    @property
    def caption(self) -> str:
        """The activation and, of a natural image, its label."""
        return f"{three_digits(self.activation)} {self.label}".rstrip()


@dataclass(frozen=True, kw_only=True)
class UnitRow:
    """A unit, and a picture, or None, for each column of its shelf."""

    name: str
    pictures: Sequence[UnitPicture | None]


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Some units of a layer, under one recipe where there are synthetic pictures."""

    layer: str
    recipe: str
    columns: Sequence[str]  # names: synthetic pictures first, then natural ones
    num_synthetic: int  # of the columns
    is_part: bool = False  # other columns of the same units are on other shelves
    rows: Sequence[UnitRow]

    @property
    def is_marked(self) -> bool:
        """True if places of natural images are marked."""
        return any(each is not None and each.mark is not None for row in self.rows for each in row.pictures)


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The pictures of a run: rows of synthetic ones, of natural ones, or of both. `natural_run` has the latter."""

    run: Run
    synthetic: pd.DataFrame | None
    natural: pd.DataFrame | None
    natural_run: Run | None

    @property
    def rows(self) -> pd.DataFrame:
        """The rows that say which layers and units there are."""
        rows = self.natural if self.synthetic is None else self.synthetic
        assert rows is not None, self.run.url
        return rows

    @property
    def model(self) -> str:
        return str(self.rows["model"].iloc[0])

    def of_layer(self, layer: str) -> "Collection":
        """Return the pictures of one layer. Raises ValueError for a layer that is not there."""
        layers = list(self.rows["layer"].unique())
        if layer not in layers:
            raise ValueError(f"layer={layer!r}: accepted are {', '.join(layers)}")
        parts = (
            None if rows is None else rows[rows["layer"] == layer] for rows in (self.synthetic, self.natural)
        )
        return replace(self, **dict(zip(("synthetic", "natural"), parts, strict=True)))


def open_collection(run: Run, natural: Run | None = None, most: int = MOST_NATURAL) -> Collection:
    """Return the pictures of a run of units, beside the `most` strongest images of each in the run `natural`.

    Of a run of natural images, those alone.
    """
    if run.kind == NATURAL:
        return Collection(run=run, synthetic=None, natural=load_natural(run, most), natural_run=run)
    return Collection(
        run=run,
        synthetic=load_synthetic(run),
        natural=None if natural is None else load_natural(natural, most),
        natural_run=natural,
    )


def shelves(collection: Collection, num_units: int) -> Iterator[Shelf]:
    """Yield shelves of at most `num_units` units: layer by layer, and recipe by recipe in each.

    Of a unit with more than `MOST_SYNTHETIC` pictures, some shelves follow one another.
    """
    natural = _natural_pictures(collection)
    if collection.synthetic is None:
        for layer, rows in collection.rows.groupby("layer", sort=False):
            for units in chunks(list(rows["unit"].unique()), num_units):
                yield _shelf(str(layer), "", units, {}, natural)
        return
    for (layer, recipe), rows in collection.synthetic.groupby(["layer", "recipe"], sort=False):
        columns = _synthetic_columns(collection.run, rows)
        for units in chunks(list(rows["unit"].unique()), num_units):
            for names in chunks(list(columns), MOST_SYNTHETIC):
                shelf = _shelf(layer, recipe, units, {name: columns[name] for name in names}, natural)
                yield replace(shelf, is_part=len(names) < len(columns))


def shelf_images(collection: Collection, shelf: Shelf) -> dict[ImageName, Pixels]:
    """Return the stored images `[H, W, C]` of a shelf."""
    names = dict.fromkeys(
        each.image for row in shelf.rows for each in row.pictures if each is not None and each.image
    )
    images: dict[ImageName, Pixels] = {}
    for run, rows in ((collection.run, collection.synthetic), (collection.natural_run, collection.natural)):
        if run is None or rows is None:
            continue
        keys = [key for url, key in names if url == run.url]
        found = run.images(keys, rows[rows["image_key"].isin(keys)])
        images |= {(run.url, key): pixels for key, pixels in zip(keys, found, strict=True)}
    return images


def three_digits(value: float) -> str:
    """Return a number with three digits that count, and no more than four decimal places: 26.8, 18.0, 0.0042."""
    size = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    return f"{value:.{min(4, max(0, 2 - size))}f}"


def unit_name(layer: str, unit: str) -> str:
    """Return how a unit is called in texts: `blocks.4.1:12`, and a class by its own name."""
    return f"class {unit}" if layer == LOGITS else f"{layer}:{unit}"


def _shelf(
    layer: str,
    recipe: str,
    units: Sequence[str],
    synthetic: Mapping[str, Mapping[str, UnitPicture]],
    natural: Mapping[Unit, Sequence[UnitPicture]],
) -> Shelf:
    num_natural = max((len(natural.get((layer, unit), ())) for unit in units), default=0)
    rows = []
    for unit in units:
        found: Sequence[UnitPicture | None] = natural.get((layer, unit), ())
        missing = [None] * (num_natural - len(found))
        pictures = [*(column.get(unit) for column in synthetic.values()), *found, *missing]
        rows.append(UnitRow(name=unit_name(layer, unit), pictures=pictures))
    names = [*synthetic, *(f"natural {place}" for place in range(1, num_natural + 1))]
    return Shelf(layer=layer, recipe=recipe, columns=names, num_synthetic=len(synthetic), rows=rows)


def _synthetic_columns(run: Run, rows: pd.DataFrame) -> dict[str, dict[str, UnitPicture]]:
    """Return the pictures by seed and member, in words, and then by unit."""
    has_members = rows["member"].nunique() > 1
    columns: dict[str, dict[str, UnitPicture]] = {}
    for row in rows.sort_values(["seed", "member"], kind="stable").to_dict("records"):
        name = f"seed {row['seed']}" + (f", member {row['member']}" if has_members else "")
        columns.setdefault(name, {})[row["unit"]] = _picture(run, row)
    return columns


def _natural_pictures(collection: Collection) -> dict[Unit, list[UnitPicture]]:
    """Return the natural images by unit, the strongest first."""
    if collection.natural is None or collection.natural_run is None:
        return {}
    pictures: dict[Unit, list[UnitPicture]] = {}
    for row in collection.natural.to_dict("records"):
        mark = None if pd.isna(row["row"]) else (int(row["row"]), int(row["column"]))
        picture = replace(_picture(collection.natural_run, row), label=row["label_name"], mark=mark)
        pictures.setdefault((row["layer"], row["unit"]), []).append(picture)
    return pictures


def _picture(run: Run, row: Mapping[Hashable, Any]) -> UnitPicture:
    key = row["image_key"]
    return UnitPicture(
        image=(run.url, key) if isinstance(key, str) else None, activation=float(row["activation"])
    )
