"""Pictures of attributions in a report: small ones exactly as they are, larger ones reduced to a cell's size."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analysis.html.site import Site

Pixels = NDArray[np.uint8]

# Up to this side each pixel is shown as a square and stored as it is; larger pictures are photographs.
SMALL = 64
# The longer side of a stored picture: a cell on a screen with two dots a pixel.
LONGEST = 288
_QUALITY = 88


@dataclass(frozen=True, kw_only=True)
class StoredPicture:
    """Path of a picture in the report, and its size in dots."""

    path: str
    width: int
    height: int

    @property
    def is_small(self) -> bool:
        """True if its pixels are shown as squares."""
        return max(self.width, self.height) <= SMALL


def store_picture(site: Site, stem: str, pixels: Pixels, *, exact: bool = False) -> StoredPicture:
    """Write a picture `[H, W, 1 or 3]`: a small one as it is, a larger one as a photograph unless `exact`.

    Compressed, red and blue pixels beside each other would turn purple: maps are `exact`.
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
    return StoredPicture(path=path, width=picture.width, height=picture.height)
