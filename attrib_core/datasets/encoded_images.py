"""Encoded images (JPEG, PNG and so on), decoded when they are needed."""

import hashlib
import io
import struct
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from attrib_core.datasets.dataset import DamagedImageError, Dataset, ImageSource
from attrib_core.datasets.registry import Request
from attrib_core.datasets.view import View

# Only these formats: PIL would pass an EPS file with a wrong suffix to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# What PIL's decoders raise for truncated bytes and for other formats.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
NUM_READERS = 16  # more than cores: a disk or a store serves several at once
CHUNK = 256  # images in memory at a time while digests are computed


class EncodedImages(ImageSource):
    """Images that are read as bytes and then decoded."""

    @abstractmethod
    def contents(self, indices: Sequence[int], pool: Executor) -> Sequence[bytes]:
        """Return the bytes of each image; raises DamagedImageError."""

    def read(self, indices: Sequence[int], view: View) -> NDArray[np.uint8]:
        # As many threads as torch has in this process, so that workers do not take each other's cores.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            contents = self.contents(indices, pool)
            images = list(pool.map(_decode, indices, contents, [view] * len(contents)))
        shape = (view.channels, view.image_size, view.image_size)
        return np.stack(images) if images else np.empty((0, *shape), np.uint8)

    def digests(self, num_images: int) -> NDArray[np.uint8]:
        """Return the SHA-256 `[N, 32]` of each image's bytes; DamagedImageError if they have no image's header."""
        digests = np.empty((num_images, 32), np.uint8)
        with ThreadPoolExecutor(NUM_READERS) as pool:
            for start in range(0, num_images, CHUNK):
                chunk = range(start, min(start + CHUNK, num_images))
                found = b"".join(pool.map(_fingerprint, chunk, self.contents(chunk, pool)))
                digests[start : chunk.stop] = np.frombuffer(found, np.uint8).reshape(-1, 32)
        return digests


def encoded_dataset(
    request: Request,
    *,
    split: str,
    class_names: tuple[str, ...],
    labels: NDArray[np.int64],
    keys: tuple[str, ...],
    source: EncodedImages,
) -> Dataset:
    """Return a data set of encoded images, after reading each of them and checking its header.

    Raises ValueError naming the first one without the header of an image.
    """
    try:
        digests = source.digests(len(keys))
    except DamagedImageError as error:
        raise ValueError(f"{request.name}: image {keys[error.index]!r}: {error.reason}") from error
    return Dataset(
        name=request.name,
        split=split,
        class_names=class_names,
        labels=labels,
        keys=keys,
        image_digests=digests,
        source=source,
    )


def _decode(index: int, content: bytes, view: View) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return view.apply(image)
    except DAMAGED as error:
        raise DamagedImageError(index, _reason(error)) from error


def _fingerprint(index: int, content: bytes) -> bytes:
    try:
        Image.open(io.BytesIO(content), formats=FORMATS).close()
    except DAMAGED as error:
        raise DamagedImageError(index, _reason(error)) from error
    return hashlib.sha256(content).digest()


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"no image, or not in a format that is read here ({', '.join(FORMATS)})"
    return f"damaged or not readable: {error}"
