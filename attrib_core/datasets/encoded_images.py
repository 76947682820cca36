"""Encoded images (JPEG, PNG and so on), decoded when they are needed."""

import hashlib
import io
import struct
import zlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from attrib_core.datasets.boxes import checked
from attrib_core.datasets.dataset import Dataset, ImageSource, first
from attrib_core.datasets.registry import Request
from attrib_core.datasets.unreadable import DamagedImageError, UnreadableImagesError
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
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
UPRIGHT = 1  # the EXIF orientation of an image that needs no turning
NUM_READERS = 16  # more than cores: a disk or a store serves several at once
CHUNK = 256  # images in memory at a time while digests are computed


# The bytes of an image, or why there are none.
Content = bytes | DamagedImageError


@dataclass
class Inspection:
    """What all images of a source are like, without decoding them."""

    digests: NDArray[np.uint8]  # [N, 32], SHA-256 of each image's bytes; zero where they cannot be read
    unreadable: dict[int, str] = field(default_factory=dict)  # reasons by index
    num_turned: int = 0
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))  # [N, 2], upright


class EncodedImages(ImageSource):
    """Images that are read as bytes and then decoded."""

    # Whether an image is turned as its EXIF orientation says, which is what the usual reader of such files does.
    turns_images = False

    @abstractmethod
    def contents(self, indices: Sequence[int], pool: Executor) -> Sequence[Content]:
        """Return the bytes of each image; raises DamagedImageError where a file of many images cannot be read."""

    def open(self, content: bytes) -> Image.Image:
        """Return the image that the bytes hold, not decoded yet. Raises one of `DAMAGED`."""
        return Image.open(io.BytesIO(content), formats=FORMATS)

    def read(self, indices: Sequence[int], view: View) -> NDArray[np.uint8]:
        # As many threads as torch has in this process, so that workers do not take each other's cores.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            contents = self.contents(indices, pool)
            for content in contents:
                if isinstance(content, DamagedImageError):
                    raise content
            images = list(pool.map(self._decode, contents, [view] * len(contents)))
        reasons = {
            index: image for index, image in zip(indices, images, strict=True) if isinstance(image, str)
        }
        if reasons:
            raise UnreadableImagesError(reasons)
        shape = (view.channels, view.image_size, view.image_size)
        return np.stack(images) if images else np.empty((0, *shape), np.uint8)

    def inspect(self, num_images: int) -> Inspection:
        """Read all images and their headers."""
        sizes = np.zeros((num_images, 2), np.int64)
        found = Inspection(np.zeros((num_images, 32), np.uint8), sizes=sizes)
        with ThreadPoolExecutor(NUM_READERS) as pool:
            for start in range(0, num_images, CHUNK):
                chunk = range(start, min(start + CHUNK, num_images))
                contents = self.contents(chunk, pool)
                for index, content, header in zip(
                    chunk, contents, pool.map(self._header, contents), strict=True
                ):
                    if isinstance(content, bytes):
                        found.digests[index] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
                    if isinstance(header, str):
                        found.unreadable[index] = header
                    else:
                        orientation, size = header
                        found.num_turned += self.turns_images and orientation != UPRIGHT
                        sizes[index] = size[::-1] if orientation in SIDEWAYS else size
        return found

    def _decode(self, content: Content, view: View) -> NDArray[np.uint8] | str:
        """Return the image as a classifier expects it, or why that cannot be."""
        assert isinstance(content, bytes)
        try:
            with self.open(content) as image:
                turned = self.turns_images and _orientation(image, content) != UPRIGHT
                return view.apply(ImageOps.exif_transpose(image) if turned else image)
        except DAMAGED as error:
            return _reason(error)

    def _header(self, content: Content) -> tuple[int, tuple[int, int]] | str:
        """Return the image's orientation and its stored width and height, or why it cannot be used.

        Only the header is looked at.
        """
        if isinstance(content, DamagedImageError):
            return content.reason
        try:
            with self.open(content) as image:
                orientation = _orientation(image, content) if self.turns_images else UPRIGHT
                return orientation, image.size
        except DAMAGED as error:
            return _reason(error)


def encoded_dataset(
    request: Request,
    *,
    split: str,
    class_names: tuple[str, ...],
    labels: NDArray[np.int64],
    keys: tuple[str, ...],
    source: EncodedImages,
    notes: tuple[str, ...] = (),
    boxes: Sequence[NDArray[np.float64]] | None = None,
    places: Sequence[str] = (),
) -> Dataset:
    """Return a data set of encoded images, after reading each of them and checking its header.

    `boxes` are corners `[n, 4]` by image, and `places` say where each comes from.

    Raises ValueError naming the first one without the header of an image, if the request takes no such images,
    or if more than half of them are of that kind.
    """
    found = source.inspect(len(keys))
    refuse_unreadable(request, keys, found.unreadable)
    return Dataset(
        name=request.name,
        split=split,
        class_names=class_names,
        labels=labels,
        keys=keys,
        image_digests=found.digests,
        source=source,
        unreadable=found.unreadable,
        num_turned=found.num_turned,
        notes=notes,
        boxes=None if boxes is None else checked(boxes, found.sizes, places, request.boxes_column or "boxes"),
    )


def refuse_unreadable(request: Request, keys: Sequence[str], unreadable: Mapping[int, str]) -> None:
    """Raise ValueError naming the first unreadable image, if the request takes none or they are more than half."""
    if unreadable and (request.refuse_unreadable or 2 * len(unreadable) > len(keys)):
        index, reason = first(unreadable)
        count = f"{len(unreadable)} of {len(keys)} images cannot be used, the first is "
        raise ValueError(
            f"{request.name}: {count if len(unreadable) > 1 else ''}image {keys[index]!r}: {reason}"
        )


def _orientation(image: Image.Image, content: bytes) -> int:
    """Return the EXIF orientation. Of a PNG it may follow the pixels, and only then all of it is decoded."""
    if image.format == "PNG" and "exif" not in image.info and b"eXIf" not in content:
        return UPRIGHT
    return int(image.getexif().get(ExifTags.Base.Orientation, UPRIGHT))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"no image, or not in a format that is read here ({', '.join(FORMATS)})"
    return f"damaged or not readable: {error}"
