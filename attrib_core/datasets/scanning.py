"""The first reading of a map-style data set: every image once, for labels and digests, and a few of them twice."""

import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image

from attrib_core.datasets.encoded_images import CHUNK, DAMAGED
from attrib_core.datasets.items import (
    USUAL_COLUMNS,
    ItemColumns,
    ItemError,
    as_image,
    image_and_label,
    image_digest,
)
from attrib_core.datasets.probing import spread_indices
from attrib_core.datasets.registry import Request
from attrib_core.errors import in_one_line
from attrib_core.user_code import failure

# What reading a file that is damaged or missing raises in a user's code; anything else is a mistake in it.
UNREADABLE = (OSError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
NUM_REPEATED = 16  # images that are read twice, to find random ones
PATIENCE = 5.0  # seconds until the user is told how long reading takes
CHANGES = (
    "random augmentation or a random order; accepted is a data set that is the same each time: leave random "
    "transforms out, and seed what splits or shuffles"
)

Opener = Callable[[], Any]  # returns the data set; it is pickled, so it holds a reference's text


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A data set as the driver opened it, and how other processes open it."""

    items: Any
    opener: Opener
    columns: ItemColumns = USUAL_COLUMNS
    file: str | None = None  # that of a user's code, which may be random, and may not be safe with threads
    num_readers: int = 1

    @property
    def damage(self) -> tuple[type[BaseException], ...]:
        """What reading an image that is damaged or missing raises: in a library's code, whatever PIL does."""
        return DAMAGED if self.file is None else UNREADABLE


@dataclass(frozen=True)
class Scanned:
    """What is known of an image after it was read once; `reason` says why it cannot be used."""

    label: Any = None
    has_label: bool = False
    digest: bytes = bytes(32)
    change: float = 0.0
    reason: str | None = None

    @property
    def identity(self) -> tuple[bytes, str]:
        """What a second reading must give again."""
        return self.digest, repr(self.label)


def refuse_random(request: Request, opening: Opening) -> None:
    """Open the data set again and compare its length and a few images."""
    again = opening.opener()
    if len(again) != len(opening.items):
        raise ValueError(
            f"dataset={request.name!r}: {len(opening.items)} images, and {len(again)} when opened again: {CHANGES}"
        )
    for index in sorted(spread_indices(len(again))[:NUM_REPEATED]):
        first, second = (
            _scan_one(request, opening, items, index).identity for items in (opening.items, again)
        )
        if first != second:
            what = "image" if first[0] != second[0] else f"label, {first[1]} and {second[1]},"
            raise ValueError(
                f"dataset={request.name!r}: image {index}: its {what} differs when it is read again: {CHANGES}"
            )


def scan(request: Request, opening: Opening) -> Iterator[Scanned]:
    """Read all images, and tell the user how long that takes if it does."""
    count, start, is_told = len(opening.items), time.monotonic(), False

    def scan_one(index: int) -> Scanned:
        return _scan_one(request, opening, opening.items, index)

    with ThreadPoolExecutor(opening.num_readers) as pool:
        for first in range(0, count, CHUNK):
            chunk = range(first, min(first + CHUNK, count))
            yield from pool.map(scan_one, chunk) if opening.num_readers > 1 else map(scan_one, chunk)
            seconds = time.monotonic() - start
            if seconds > PATIENCE and not is_told:
                is_told = True
                rest = seconds * (count / chunk.stop - 1)
                request.log(
                    f"{request.name}: reads all {count:,} images once, for labels and digests; about {rest:,.0f} s"
                )


def _scan_one(request: Request, opening: Opening, items: Any, index: int) -> Scanned:
    try:
        item = items[index]
    except opening.damage as error:
        return Scanned(reason=f"damaged or not readable: {in_one_line(error)}")
    except Exception as error:
        raise ValueError(
            f"dataset={request.name!r}: image {index} of {len(items)}: {failure(error, opening.file)}"
        ) from error
    try:
        value, label = image_and_label(item, opening.columns)
        try:
            image, change = as_image(value)
        except OSError as error:
            reason = f"damaged or not readable: {error}"
            return Scanned(label=label, has_label=True, reason=reason)
        return Scanned(label=label, has_label=True, digest=image_digest(image), change=change)
    except ItemError as error:
        raise ItemError(f"image {index}: {error}") from error
