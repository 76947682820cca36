"""Numbered sheets without labels, an empty list of guesses, and the key, which is written somewhere else."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from analysis.blind.guesses import write_empty
from analysis.blind.key import default_key, write_key
from analysis.drawing.pages import chunks
from analysis.drawing.pixels import Pixels, draw_text, render_text
from analysis.run import Run

_BACKGROUND, _INK = 255, "#1f2328"

INSTRUCTIONS = """\
Each numbered picture on the sheets was made to show one thing.

Write into guesses.csv what it is, in one to three words, as exactly as you can. A second guess may follow under
`second`, and under `certainty` how sure you are, from 0 to 100. Leave a guess empty where you have none.
Name the pictures alone, and ask nobody what the classes are.
"""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Pictures on a sheet, and the longer side of each, in pixels; a sheet is a little wider than high."""

    per_sheet: int = 12
    image_size: int = 320

    def __post_init__(self) -> None:
        if not 1 <= self.per_sheet <= 100:
            raise ValueError(f"per-sheet is {self.per_sheet}: give a whole number from 1 to 100")
        if not 64 <= self.image_size <= 2048:
            raise ValueError(f"image-size is {self.image_size}: give pixels from 64 to 2048")

    @property
    def num_across(self) -> int:
        return math.ceil(math.sqrt(self.per_sheet * 4 / 3))

    @property
    def text_size(self) -> int:
        """Height of the numbers in pixels."""
        return max(18, self.image_size // 11)


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folder of the sheets, which is given away, and the file of the key, which is not."""

    folder: Path
    key: Path

    @classmethod
    def of(cls, folder: Path, key: Path | None) -> "Place":
        """Return the place. Raise ValueError if it is taken, or if the key would lie with the sheets."""
        place = cls(folder=folder, key=key or default_key(folder))
        if place.key.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"key is {str(place.key)!r}, in the folder of the sheets: give a path outside it"
            )
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ValueError(
                f"output {str(folder)!r} is there already: give a new folder, so that no guess is lost"
            )
        if place.key.exists():
            raise ValueError(
                f"key {str(place.key)!r} is there already: give a new file, so that no key is lost"
            )
        return place


def write_naming(run: Run, pictures: pd.DataFrame, layout: Layout, place: Place) -> Iterator[Path]:
    """Write the sheets, the instructions, the empty guesses and the key; yield each path.

    `pictures` are those of `numbered_pictures`.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    num_digits = len(str(math.ceil(len(pictures) / layout.per_sheet)))
    for count, numbers in enumerate(chunks(range(len(pictures)), layout.per_sheet), start=1):
        path = place.folder / f"sheet-{count:0{num_digits}d}.png"
        # Pixels alone: no text, time or name goes into the file.
        Image.fromarray(_sheet(run, pictures.iloc[list(numbers)], layout)).save(path)
        yield path
    instructions = place.folder / "instructions.txt"
    instructions.write_text(INSTRUCTIONS, encoding="utf-8")
    yield instructions
    yield write_empty(pictures["number"], place.folder)
    write_key(pictures, place.key)
    yield place.key


def _sheet(run: Run, pictures: pd.DataFrame, layout: Layout) -> Pixels:
    """Return the pixels of a sheet: the pictures in rows, the number above each."""
    gap, size = layout.image_size // 16, layout.image_size
    heading = layout.text_size + layout.text_size // 2
    num_down = math.ceil(len(pictures) / layout.num_across)
    shape = (num_down * (heading + size + gap) + gap, layout.num_across * (size + gap) + gap, 3)
    sheet = np.full(shape, _BACKGROUND, np.uint8)
    images = run.images(pictures["image_key"], pictures)
    for place, (number, image) in enumerate(zip(pictures["number"], images, strict=True)):
        down, across = divmod(place, layout.num_across)
        top, left = gap + down * (heading + size + gap), gap + across * (size + gap)
        draw_text(sheet, render_text(str(number), layout.text_size, _INK, size), left, top)
        fitted = _fitted(image, size)
        height, width = fitted.shape[:2]
        sheet[top + heading : top + heading + height, left : left + width] = fitted
    return sheet


def _fitted(image: Pixels, size: int) -> Pixels:
    """Return the image in colour with `size` pixels on its longer side.

    Enlarged smoothly: the edges of large pixels hide what they show (Harmon and Julesz 1973).
    """
    height, width = image.shape[:2]
    colored = np.ascontiguousarray(np.broadcast_to(image, (height, width, 3)))
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(colored).resize(shape, Image.Resampling.LANCZOS))
