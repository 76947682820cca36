"""Three pictures side by side, such as an image, its change and what became of it: files and their words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from analysis import load
from analysis.html.formatting import share
from analysis.html.site import Site

Pixels = NDArray[np.uint8]

# Below this width, dots are shown as squares: smoothed, 28 dots are a blur.
_FEW_DOTS = 128
_MID_GREY = 127.5


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a report; `path` is empty where none is stored. `right`: a verdict, None without one."""

    path: str
    width: int
    height: int
    name: str
    alt: str
    caption: str = ""
    right: bool | None = None

    @property
    def is_small(self) -> bool:
        """Whether its dots are shown as they are."""
        return self.width < _FEW_DOTS


@dataclass(frozen=True, kw_only=True)
class Triptych:
    """Pictures under a title."""

    title: str
    pictures: Sequence[Picture]


@dataclass
class Album:
    """Pictures written to a report, numbered: each stored image once, whoever shows it."""

    site: Site
    folder: str
    _paths: dict[str, str] = field(default_factory=dict)

    def picture(
        self,
        key: str | None,
        pixels: Pixels | None,
        *,
        name: str,
        alt: str,
        caption: str = "",
        right: bool | None = None,
    ) -> Picture:
        """The picture of an image `[H, W, C]`, written at the first time that its key is named."""
        if key is None or pixels is None:
            return Picture(path="", width=1, height=1, name=name, alt="", caption=caption, right=right)
        if key not in self._paths:
            path = f"{self.folder}/{len(self._paths):04d}.webp"
            self._paths[key] = self.site.put(path, lossless(pixels))
        height, width = pixels.shape[:2]
        return Picture(
            path=self._paths[key],
            width=width,
            height=height,
            name=name,
            alt=alt,
            caption=caption,
            right=right,
        )


def lossless(pixels: Pixels) -> bytes:
    """An image `[H, W, C]` as WebP, each dot as it is."""
    buffer = BytesIO()
    Image.fromarray(pixels.repeat(3, -1) if pixels.shape[-1] == 1 else pixels).save(
        buffer, "WEBP", lossless=True
    )
    return buffer.getvalue()


def plain_name(index: int, names: Mapping[int, str]) -> str:
    """The name of a class, without the index that stands in front of it in `names`."""
    return names[index].removeprefix(f"{index} ") if index in names else f"class {index}"


def taken_for(prediction: int, confidence: float, names: Mapping[int, str]) -> str:
    """What an image is taken for, and with what confidence; the number stays with its sign."""
    return f"{plain_name(prediction, names)}, {share(confidence)}".replace(" %", "\N{NO-BREAK SPACE}%")


def stored_images(run: str, rows: pd.DataFrame, columns: Iterable[str]) -> Mapping[str, Pixels]:
    """The images whose keys these columns of the rows hold, by key."""
    named = pd.unique(rows[list(columns)].to_numpy(object).ravel())
    keys = [key for key in named if isinstance(key, str)]
    return dict(zip(keys, load.images(run, keys, rows=rows), strict=True))


def stretched_difference(before: Pixels, after: Pixels) -> tuple[Pixels, float]:
    """Mid-grey plus the change of an image, stretched until its largest is black or white; and that largest, in
    [0, 1]."""
    change = after.astype(np.float64) - before
    largest = float(np.abs(change).max(initial=0))
    view = np.rint(_MID_GREY + _MID_GREY * change / max(largest, 1)).astype(np.uint8)
    return view, largest / 255
