"""Pictures of generated classes: thumbnails, tiled into one file for each class and recipe, and full images."""

import math
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO

import pandas as pd
from PIL import Image

from analysis import load
from analysis.generation.class_strips import chunks
from analysis.html.site import Site
from analysis.run import Source

# Dots: what a card of the gallery is wide on a screen with two dots a pixel, and the least that shows anything.
TILING_WIDTH, LEAST_TILE = 320, 72

# Up to here PNG files are copied as they are stored; a larger run's become WebP, at a quarter of the size.
MOST_PNG_BYTES = 1_000_000_000

_NUM_WORKERS = min(8, os.cpu_count() or 1)
_THUMBNAIL_QUALITY, _FULL_QUALITY = 75, 90

# Class index, recipe, seed.
Cell = tuple[int, str, int]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Thumbnails of the seeds of a class, row by row; sizes in dots."""

    num_seeds: int
    tile: int

    @property
    def num_columns(self) -> int:
        return math.ceil(math.sqrt(self.num_seeds))

    @property
    def num_rows(self) -> int:
        return math.ceil(self.num_seeds / self.num_columns)

    @property
    def width(self) -> int:
        return self.num_columns * self.tile

    @property
    def height(self) -> int:
        return self.num_rows * self.tile

    def place(self, position: int) -> tuple[int, int]:
        """Left and top of a seed's tile."""
        return position % self.num_columns * self.tile, position // self.num_columns * self.tile


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where the pictures of a run are, by what they show: (class index, recipe) and (class, recipe, seed)."""

    tiling: Tiling
    thumbnails: dict[tuple[int, str], str] = field(default_factory=dict)
    full: dict[Cell, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # width and height by path


@dataclass(frozen=True, kw_only=True)
class _Picture:
    cell: Cell
    content: bytes
    suffix: str
    size: tuple[int, int]
    tile: Image.Image


def tiling_of(num_seeds: int) -> Tiling:
    """The tiling of this many seeds."""
    num_columns = math.ceil(math.sqrt(num_seeds))
    return Tiling(num_seeds=num_seeds, tile=max(LEAST_TILE, TILING_WIDTH // num_columns))


def write_pictures(
    source: Source, site: Site, rows: pd.DataFrame, recipes: Sequence[str], seeds: Sequence[int]
) -> Pictures:
    """Writes the pictures of all rows that name one. A recipe at a time: its thumbnails are in memory together."""
    pictures = Pictures(tiling=tiling_of(len(seeds)))
    numbers = {recipe: number for number, recipe in enumerate(recipes)}
    stored = rows[rows["image_key"].notna()]
    with ThreadPoolExecutor(_NUM_WORKERS) as pool:
        for recipe in recipes:
            tiled: dict[int, Image.Image] = {}
            for picture in _read(source, stored[stored["recipe"] == recipe], pictures.tiling.tile, pool):
                _place(picture, tiled, pictures.tiling, seeds)
                _put_full(picture, source, site, pictures, numbers)
            for (index, _), content in zip(tiled.items(), pool.map(_webp, tiled.values()), strict=True):
                path = f"{source.id}/thumbnails/{index:04d}-{numbers[recipe]}.webp"
                pictures.thumbnails[index, recipe] = site.put(path, content)
    return pictures


def _read(source: Source, rows: pd.DataFrame, tile: int, pool: ThreadPoolExecutor) -> Iterator[_Picture]:
    """The pictures of the rows, each image file read once."""
    copied = source.status.image_bytes <= MOST_PNG_BYTES
    files = [file for _, file in rows.groupby("image_file", observed=True, sort=True)]
    for some in chunks(files, 2 * _NUM_WORKERS):
        for found in pool.map(lambda file: _read_file(source.url, file, tile, copied), some):
            yield from found


def _read_file(url: str, rows: pd.DataFrame, tile: int, copied: bool) -> list[_Picture]:
    keys = list(rows["image_key"])
    contents = load.encoded_images(url, keys, rows=rows)
    cells = zip(rows["class_index"], rows["recipe"], rows["seed"], strict=True)
    return [
        _picture(key, (int(index), str(recipe), int(seed)), content, tile, copied)
        for key, (index, recipe, seed), content in zip(keys, cells, contents, strict=True)
    ]


def _picture(key: str, cell: Cell, content: bytes, tile: int, copied: bool) -> _Picture:
    pixels = load.decode_png(key, content)
    image = Image.fromarray(pixels.repeat(3, -1) if pixels.shape[-1] == 1 else pixels)
    return _Picture(
        cell=cell,
        content=content if copied else _webp(image, _FULL_QUALITY),
        suffix="png" if copied else "webp",
        size=image.size,
        tile=image.resize((tile, tile), Image.Resampling.LANCZOS),
    )


def _place(picture: _Picture, tiled: dict[int, Image.Image], tiling: Tiling, seeds: Sequence[int]) -> None:
    """Draws a thumbnail into its class's tiling; cells without an image stay transparent."""
    index, _, seed = picture.cell
    if index not in tiled:
        tiled[index] = Image.new("RGBA", (tiling.width, tiling.height))
    tiled[index].paste(picture.tile, tiling.place(seeds.index(seed)))


def _put_full(
    picture: _Picture, source: Source, site: Site, pictures: Pictures, numbers: Mapping[Hashable, int]
) -> None:
    index, recipe, seed = picture.cell
    path = f"{source.id}/images/{index:04d}-{numbers[recipe]}-{seed}.{picture.suffix}"
    pictures.full[picture.cell] = site.put(path, picture.content)
    pictures.sizes[path] = picture.size


def _webp(image: Image.Image, quality: int = _THUMBNAIL_QUALITY) -> bytes:
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
        image = image.convert("RGB")
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()
