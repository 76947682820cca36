"""Pictures side by side, such as an image, its change and the changed image: their files and captions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analysis.html.formatting import share
from analysis.html.site import Site

Pixels = NDArray[np.uint8]

# Below this width, pixels are shown as squares: smoothed, an image of 28 pixels is a blur.
_FEW_DOTS = 128


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a report; `path` is empty if none is stored. `right`: a verdict, None without one."""

    path: str
    width: int
    height: int
    name: str
    alt: str
    caption: str = ""
    right: bool | None = None

    @property
    def is_small(self) -> bool:
        """True if its pixels are shown as squares."""
        return self.width < _FEW_DOTS


@dataclass(frozen=True, kw_only=True)
class Triptych:
    """Pictures under a title."""

    title: str
    pictures: Sequence[Picture]


@dataclass
class Album:
    """Pictures written to a report, numbered: each stored image once, however often it is shown."""

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
        """Return the picture of an image `[H, W, C]`; write it when its key is named for the first time."""
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
    """Encode an image `[H, W, C]` as lossless WebP."""
    buffer = BytesIO()
    Image.fromarray(pixels.repeat(3, -1) if pixels.shape[-1] == 1 else pixels).save(
        buffer, "WEBP", lossless=True
    )
    return buffer.getvalue()


def plain_name(index: int, names: Mapping[int, str]) -> str:
    """Return the name of a class, without the index that stands in front of it in `names`."""
    return names[index].removeprefix(f"{index} ") if index in names else f"class {index}"


def taken_for(prediction: int, confidence: float, names: Mapping[int, str]) -> str:
    """Return what an image is taken for and with what confidence; number and percent sign stay together."""
    return f"{plain_name(prediction, names)}, {share(confidence)}".replace(" %", "\N{NO-BREAK SPACE}%")
