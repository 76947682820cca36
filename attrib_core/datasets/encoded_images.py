"""Images as files have them: JPEG, PNG and so on, decoded when they are asked for."""

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

# Only these: PIL would hand an EPS file in disguise to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# What PIL's decoders raise for bytes that are cut off or not theirs.
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
NUM_READERS = 16  # more than cores: a disk or a store answers several at once
CHUNK = 256  # images held in memory while the digest is made


class EncodedImages(ImageSource):
    """Images whose bytes are read first and decoded then."""

    @abstractmethod
    def contents(self, indices: Sequence[int], pool: Executor) -> Sequence[bytes]:
        """The bytes of each image; raises DamagedImageError."""

    def read(self, indices: Sequence[int], view: View) -> NDArray[np.uint8]:
        # As many threads as torch has in this process, so that workers do not crowd each other out.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            contents = self.contents(indices, pool)
            images = list(pool.map(_decode, indices, contents, [view] * len(contents)))
        shape = (view.channels, view.image_size, view.image_size)
        return np.stack(images) if images else np.empty((0, *shape), np.uint8)

    def digests(self, num_images: int) -> NDArray[np.uint8]:
        """SHA-256 `[N, 32]` of each image's bytes; DamagedImageError for bytes that begin like no image."""
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
    """A data set of encoded images, each of which was read and has the header of an image.

    Raises ValueError naming the first one that has not.
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
