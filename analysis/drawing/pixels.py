"""Resize pictures and draw text on them directly: milliseconds a frame, where matplotlib takes a second."""

from functools import lru_cache

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties, findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from analysis.drawing.labels import FONT_FAMILY, fit_label

Pixels = NDArray[np.uint8]


def fit_size(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Return height and width of an image whose longer side gets at most `longest` pixels.

    A smaller image is enlarged by a whole factor.
    """
    side = max(shape)
    if side <= longest:
        return shape[0] * (longest // side), shape[1] * (longest // side)
    return max(1, shape[0] * longest // side), max(1, shape[1] * longest // side)


def resize(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Return the image at another height and width; whole pixels are repeated if it grows by a whole factor."""
    factor = size[0] // image.shape[0]
    if size == (image.shape[0] * factor, image.shape[1] * factor):
        return image.repeat(factor, 0).repeat(factor, 1)
    picture = Image.fromarray(np.ascontiguousarray(image)).resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(picture)


def draw_text(frame: Pixels, text: tuple[Pixels, Pixels], left: int, top: int) -> None:
    """Draw a text that `render_text` made into the frame, in place."""
    letters, color = text
    area = frame[top : top + letters.shape[0], left : left + letters.shape[1]]
    opacity = letters[: area.shape[0], : area.shape[1], None] / np.float32(255)
    area[:] = np.rint(area + opacity * (color - area.astype(np.float32)))


@lru_cache(maxsize=4096)
def render_text(text: str, size: int, color: str, width: int) -> tuple[Pixels, Pixels]:
    """Return the opacity `[h, w]` of a line of text of at most `width` pixels, and its colour."""
    # At 72 dots an inch, points are pixels.
    line = fit_label(text, width=width, dpi=72, font_size=size)
    font = ImageFont.truetype(findfont(FontProperties(family=FONT_FAMILY)), size)
    picture = Image.new("L", (max(1, int(font.getlength(line)) + 2), size + size // 3))
    ImageDraw.Draw(picture).text((0, 0), line, fill=255, font=font)
    return np.asarray(picture), color_bytes(color)


def color_bytes(color: str) -> Pixels:
    """Return the three bytes of a colour that matplotlib knows."""
    return np.rint(np.array(to_rgb(color)) * 255).astype(np.uint8)
