"""Images of one size that are held in memory."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attrib_core.datasets.dataset import ImageSource
from attrib_core.datasets.view import View


class ArrayImages(ImageSource):
    """Grey images `[N, H, W]` or colour images `[N, H, W, 3]`; other processes may share the array's memory."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def read(self, indices: Sequence[int], view: View) -> NDArray[np.uint8]:
        chosen = self.pixels[list(indices)]
        shape = (len(chosen), view.channels, view.image_size, view.image_size)
        is_grey = chosen.ndim == 3
        if chosen.shape[1:3] != shape[2:] or (view.channels == 1 and not is_grey):
            images = [view.apply(Image.fromarray(pixels)) for pixels in chosen]
            return np.stack(images) if images else np.empty(shape, np.uint8)
        # PIL also makes RGB of grey by repeating it, but takes a thousand times as long.
        planes = chosen[:, None] if is_grey else chosen.transpose(0, 3, 1, 2)
        return np.broadcast_to(planes, shape).copy()


def array_digests(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the SHA-256 `[N, 32]` of each image's pixels."""
    digests = b"".join(hashlib.sha256(image.tobytes()).digest() for image in pixels)
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, 32)
