"""Attribution maps as small pictures in a table: a row for each image, a column for each method."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from analysis.attribution.colors import colored, overlaid
from analysis.html.site import Site

Pixels = NDArray[np.uint8]

# Up to here pixels are shown as such, and stored as they are; larger pictures are photographs.
SMALL = 64
# The longer side of a picture, in dots: that of a cell on a screen with two dots a pixel.
LONGEST = 288
_QUALITY = 88


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Where a picture is, and its size in dots."""

    path: str
    width: int
    height: int

    @property
    def is_small(self) -> bool:
        return max(self.width, self.height) <= SMALL


@dataclass(frozen=True, kw_only=True)
class Tile:
    """An attribution as colours, and the same on the grey image, None where that was not stored."""

    map: Picture
    overlay: Picture | None


@dataclass(frozen=True, kw_only=True)
class TileRow:
    """An image, what it is taken for, and its attributions by column; None for what is not there."""

    index: int
    label: str
    prediction: str
    confidence: float
    correct: bool
    image: Picture | None
    tiles: Sequence[Tile | None]


@dataclass(frozen=True, kw_only=True)
class TileTable:
    """Rows of tiles under the names of their columns."""

    columns: Sequence[str]
    rows: Sequence[TileRow]

    @property
    def has_overlays(self) -> bool:
        return any(tile and tile.overlay for row in self.rows for tile in row.tiles)


def write_tiles(
    site: Site,
    folder: str,
    rows: pd.DataFrame,
    maps: NDArray[np.floating],
    images: Mapping[str, Pixels],
    names: Mapping[int, str],
    *,
    columns: Sequence[str],
) -> TileTable:
    """Writes the maps `[N, H, W]` of these rows, each under its row's `column`, and the images, by `image_key`.

    Each map has a scale of its own. A column without negative values runs from white to red, others from blue
    through white to red, as in `analysis.attribution.grids`.
    """
    rows = rows.reset_index(drop=True)
    signed = {column: bool((maps[rows["column"] == column] < 0).any()) for column in columns}
    table = []
    for number, (_, group) in enumerate(rows.groupby("image_index")):
        place, image = f"{folder}/{number:03d}", images.get(group["image_key"].iloc[0])
        tiles = dict(_tiles(site, place, group, maps, image, signed, columns))
        shown = None if image is None else _put(site, f"{place}-image", image)
        table.append(_row(group.iloc[-1], names, shown, [tiles.get(column) for column in columns]))
    return TileTable(columns=columns, rows=table)


def _tiles(
    site: Site,
    place: str,
    group: pd.DataFrame,
    maps: NDArray[np.floating],
    image: Pixels | None,
    signed: Mapping[str, bool],
    columns: Sequence[str],
) -> Iterator[tuple[str, Tile]]:
    """Column and tile of each row of an image."""
    for index, column in zip(group.index, group["column"], strict=True):
        values, stem = maps[index], f"{place}-{list(columns).index(column):02d}"
        overlay = None
        # An image that was stored at another size than the network's lies under no map of it.
        if image is not None and image.shape[:2] == values.shape:
            overlay = _put(site, f"{stem}-overlay", overlaid(values, image))
        map_ = _put(site, stem, colored(values, signed=signed[column]), exact=True)
        yield column, Tile(map=map_, overlay=overlay)


def _row(
    last: pd.Series, names: Mapping[int, str], image: Picture | None, tiles: Sequence[Tile | None]
) -> TileRow:
    label, prediction = int(last["label"]), int(last["prediction"])
    return TileRow(
        index=int(last["image_index"]),
        label=names.get(label, str(label)),
        prediction=names.get(prediction, str(prediction)),
        confidence=float(last["confidence"]),
        correct=label == prediction,
        image=image,
        tiles=tiles,
    )


def _put(site: Site, stem: str, pixels: Pixels, *, exact: bool = False) -> Picture:
    """Writes a picture `[H, W, 1 or 3]`: a small one as it is, a larger one as a photograph unless `exact`.

    Compressed, red and blue pixels beside each other would turn purple.
    """
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    if max(picture.size) <= SMALL:
        picture.save(buffer, "PNG")
    else:
        picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        picture.save(buffer, "WEBP", quality=_QUALITY, lossless=exact, use_sharp_yuv=True)
    suffix = "png" if max(picture.size) <= SMALL else "webp"
    path = site.put(f"{stem}.{suffix}", buffer.getvalue())
    return Picture(path=path, width=picture.width, height=picture.height)
