"""Image files of a report: thumbnails, tiled into one file for each class and recipe, and full images."""

import math
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from analysis.drawing.pages import chunks
from analysis.generation.class_strips import Look
from analysis.generation.rows import GeneratedImages
from analysis.html.site import Site
from analysis.image_files import decode_png
from analysis.run import Run

# Widths in dots: of a card of the gallery on a screen with two dots a pixel, of the smallest useful thumbnail.
TILING_WIDTH, LEAST_TILE = 320, 72

# Up to this size of a run PNG files are copied as they are stored; those of a larger run become WebP, at a quarter
# of the size.
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
        """Return left and top of a seed's tile."""
        return position % self.num_columns * self.tile, position // self.num_columns * self.tile


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Paths of a run's pictures: thumbnails by class index and recipe, full images by class, recipe and seed."""

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
    """Return the tiling of this many seeds, nearly square."""
    num_columns = math.ceil(math.sqrt(num_seeds))
    return Tiling(num_seeds=num_seeds, tile=max(LEAST_TILE, TILING_WIDTH // num_columns))


def write_pictures(images: GeneratedImages, site: Site, look: Look) -> Pictures:
    """Write the pictures of all rows that name one, the thumbnails in this look.

    One recipe after another, because all thumbnails of a recipe are in memory at once.
    """
    pictures = Pictures(tiling=tiling_of(len(images.seeds)))
    numbers = {recipe: number for number, recipe in enumerate(images.recipes)}
    stored = images.rows[images.rows["image_key"].notna()]
    reading = _Reading(run=images.run, tile=pictures.tiling.tile, look=look)
    with ThreadPoolExecutor(_NUM_WORKERS) as pool:
        for recipe in images.recipes:
            tiled: dict[int, Image.Image] = {}
            for picture in reading.pictures(stored[stored["recipe"] == recipe], pool):
                _place(picture, tiled, pictures.tiling, images.seeds)
                _put_full(picture, images.run, site, pictures, numbers)
            for (index, _), content in zip(tiled.items(), pool.map(_webp, tiled.values()), strict=True):
                path = f"{images.run.id}/thumbnails/{index:04d}-{numbers[recipe]}.webp"
                pictures.thumbnails[index, recipe] = site.put(path, content)
    return pictures


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """How the images of a run are read and made into pictures, several files at once."""

    run: Run
    tile: int
    look: Look

    @property
    def copies(self) -> bool:
        """True if full images are copied as they are stored."""
        return self.run.status.image_bytes <= MOST_PNG_BYTES

    def pictures(self, rows: pd.DataFrame, pool: ThreadPoolExecutor) -> Iterator[_Picture]:
        """Yield the pictures of the rows; each image file is read once."""
        files = [file for _, file in rows.groupby("image_file", observed=True, sort=True)]
        # Some files at a time: the pool would read ahead of its consumer without end.
        for some in chunks(files, 2 * _NUM_WORKERS):
            for found in pool.map(self._file, some):
                yield from found

    def _file(self, rows: pd.DataFrame) -> list[_Picture]:
        keys = list(rows["image_key"])
        contents = self.run.encoded_images(keys, rows=rows)
        cells = zip(rows["class_index"], rows["recipe"], rows["seed"], strict=True)
        return [
            self._picture(key, (int(index), str(recipe), int(seed)), content)
            for key, (index, recipe, seed), content in zip(keys, cells, contents, strict=True)
        ]

    def _picture(self, key: str, cell: Cell, content: bytes) -> _Picture:
        pixels = decode_png(key, content)
        image, shown = _three_channels(pixels), _three_channels(self.look.apply(pixels))
        return _Picture(
            cell=cell,
            content=content if self.copies else _webp(image, _FULL_QUALITY),
            suffix="png" if self.copies else "webp",
            size=image.size,
            tile=shown.resize((self.tile, self.tile), Image.Resampling.LANCZOS),
        )


def _three_channels(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels.repeat(3, -1) if pixels.shape[-1] == 1 else pixels)


def _place(picture: _Picture, tiled: dict[int, Image.Image], tiling: Tiling, seeds: Sequence[int]) -> None:
    """Paste a thumbnail into its class's tiling; cells without an image stay transparent."""
    index, _, seed = picture.cell
    if index not in tiled:
        tiled[index] = Image.new("RGBA", (tiling.width, tiling.height))
    tiled[index].paste(picture.tile, tiling.place(seeds.index(seed)))


def _put_full(
    picture: _Picture, run: Run, site: Site, pictures: Pictures, numbers: Mapping[Hashable, int]
) -> None:
    index, recipe, seed = picture.cell
    path = f"{run.id}/images/{index:04d}-{numbers[recipe]}-{seed}.{picture.suffix}"
    pictures.full[picture.cell] = site.put(path, picture.content)
    pictures.sizes[path] = picture.size


def _webp(image: Image.Image, quality: int = _THUMBNAIL_QUALITY) -> bytes:
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
        image = image.convert("RGB")
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()
