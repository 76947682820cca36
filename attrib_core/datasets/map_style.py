"""Map-style data sets of other libraries and of users: anything with a length that gives (image, label) by index.

The driver reads every image once, for labels and digests. Other processes get the reference, open the data set for
themselves, and compare each image that they read with its digest.
"""

import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from attrib_core.datasets.dataset import Dataset, ImageSource
from attrib_core.datasets.encoded_images import CHUNK, refuse_unreadable
from attrib_core.datasets.item_labels import LabelReader, class_names_of, targets_of
from attrib_core.datasets.items import (
    ITEM_FORMS,
    USUAL_COLUMNS,
    ItemColumns,
    ItemError,
    as_image,
    image_and_label,
    image_digest,
)
from attrib_core.datasets.probing import spread_indices
from attrib_core.datasets.registry import Request
from attrib_core.datasets.unreadable import DamagedImageError, UnreadableImagesError
from attrib_core.datasets.view import View
from attrib_core.user_code.targets import failed_line, first_line

# What reading a file that is damaged or missing raises; anything else is a mistake in the data set's code.
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


class MappedImages(ImageSource):
    """Images of a map-style data set that each process opens when it first reads one; `digests` `[N, 32]`."""

    def __init__(self, name: str, opening: Opening, digests: NDArray[np.uint8]) -> None:
        self.name = name
        self.opener, self.columns, self.file, self.digests = (
            opening.opener,
            opening.columns,
            opening.file,
            digests,
        )
        self._items: Any = opening.items

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_items": None}

    def read(self, indices: Sequence[int], view: View) -> NDArray[np.uint8]:
        images, reasons = [], {}
        for index in indices:
            image = self._image(index)
            try:
                images.append(view.apply(image))
            except ValueError as error:  # such as grey values beyond 16 bits
                reasons[index] = str(error)
        if reasons:
            raise UnreadableImagesError(reasons)
        shape = (view.channels, view.image_size, view.image_size)
        return np.stack(images) if images else np.empty((0, *shape), np.uint8)

    def _image(self, index: int) -> Image.Image:
        items = self._opened()
        try:
            image, _ = as_image(image_and_label(items[index], self.columns)[0])
        except Exception as error:  # of any code
            raise DamagedImageError(index, failure(error, self.file)) from error
        if image_digest(image) != self.digests[index].tobytes():
            raise DamagedImageError(index, f"it is another image than when the sweep was started: {CHANGES}")
        return image

    def _opened(self) -> Any:
        if self._items is None:
            items = self.opener()
            if len(items) != len(self.digests):
                raise ValueError(
                    f"dataset={self.name!r}: {len(items)} images here, {len(self.digests)} when the sweep was "
                    "started; accepted is a data set that is the same on every machine"
                )
            self._items = items
        return self._items


@dataclass(frozen=True)
class _Scanned:
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


def mapped_dataset(request: Request, opening: Opening, split: str) -> Dataset:
    """Return a data set of a map-style one's images, after reading each of them once.

    Raises ValueError naming the first image whose item is of no accepted form, images that differ when read
    again, and labels that do not fit.
    """
    items = opening.items
    try:
        if opening.file is not None:
            _refuse_random(request, opening)
        class_names = class_names_of(items)
        reader = LabelReader(class_names)
        digests = np.zeros((len(items), 32), np.uint8)
        unreadable: dict[int, str] = {}
        change, changed = 0.0, 0
        for index, found in enumerate(_scan(request, opening)):
            digests[index] = np.frombuffer(found.digest, np.uint8)
            if found.reason is not None:
                unreadable[index] = found.reason
            _add_label(reader, found, index)
            change, changed = max(change, found.change), changed + (found.change > 0)
        keys = tuple(f"{index:05d}" for index in range(len(items)))
        refuse_unreadable(request, keys, unreadable)
        labels, names, notes = reader.finish()
        labels = _with_targets(items, class_names, labels, unreadable)
    except ItemError as error:
        raise ValueError(f"dataset={request.name!r}: {error}") from error
    if changed:
        notes = (
            *notes,
            f"{changed:,} images are floats that are no multiples of 1/255; rounded to 8 bits, which changes a "
            f"value by up to {change:.4f} of 1",
        )
    return Dataset(
        name=request.name,
        split=split,
        class_names=names,
        labels=labels,
        keys=keys,
        image_digests=digests,
        source=MappedImages(request.name, opening, digests),
        unreadable=unreadable,
        notes=notes,
    )


def check_map_style(name: str, items: Any) -> None:
    """Raise ValueError for what has no length, no items by index, or none at all."""
    where = f"dataset={name!r}"
    kind = type(items).__name__
    if isinstance(items, DataLoader):
        raise ValueError(f"{where}: it is a DataLoader; accepted is the data set in it, `loader.dataset`")
    if isinstance(items, IterableDataset) or not (
        hasattr(items, "__len__") and hasattr(items, "__getitem__")
    ):
        raise ValueError(
            f"{where}: it is of type {kind}, without a length and items by index; accepted are our "
            f"Dataset and map-style data sets of {ITEM_FORMS}"
        )
    if isinstance(items, Mapping):
        raise ValueError(
            f"{where}: it is a {kind} of {', '.join(map(str, items))}; accepted is one of them, such as by a "
            "parameter `split` of the function"
        )
    try:
        count = len(items)
    except Exception as error:
        raise ValueError(f"{where}: its length fails: {first_line(error)}") from error
    if not count:
        raise ValueError(f"{where}: it has no images")


def failure(error: BaseException, file: str | None) -> str:
    """Return an error in a line, with the user's file and the line in it where it went through it."""
    line = None if file is None else failed_line(error, file)
    return f"{file}, line {line}: {first_line(error)}" if line else first_line(error)


def _refuse_random(request: Request, opening: Opening) -> None:
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


def _scan(request: Request, opening: Opening) -> Iterator[_Scanned]:
    """Read all images, and tell the user how long that takes if it does."""
    count, start, is_told = len(opening.items), time.monotonic(), False

    def scan_one(index: int) -> _Scanned:
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


def _scan_one(request: Request, opening: Opening, items: Any, index: int) -> _Scanned:
    try:
        item = items[index]
    except UNREADABLE as error:
        return _Scanned(reason=f"damaged or not readable: {first_line(error)}")
    except Exception as error:
        raise ValueError(
            f"dataset={request.name!r}: image {index} of {len(items)}: {failure(error, opening.file)}"
        ) from error
    try:
        value, label = image_and_label(item, opening.columns)
        try:
            image, change = as_image(value)
        except UNREADABLE as error:
            reason = f"damaged or not readable: {first_line(error)}"
            return _Scanned(label=label, has_label=True, reason=reason)
        return _Scanned(label=label, has_label=True, digest=image_digest(image), change=change)
    except ItemError as error:
        raise ItemError(f"image {index}: {error}") from error


def _add_label(reader: LabelReader, found: _Scanned, index: int) -> None:
    if not found.has_label:
        reader.skip()
        return
    try:
        reader.add(found.label)
    except ItemError as error:
        raise ItemError(f"image {index}: {error}") from error


def _with_targets(
    items: Any, class_names: tuple[str, ...] | None, labels: NDArray[np.int64], unreadable: Mapping[int, str]
) -> NDArray[np.int64]:
    """Return the labels, for images that cannot be read those of the data set's own list, if it has one."""
    targets = targets_of(items) if unreadable else None
    if targets is None or len(targets) != len(labels):
        return labels
    reader = LabelReader(class_names)
    try:
        for target in targets:
            reader.add(target)
        listed = reader.finish()[0]
    except ItemError:
        return labels
    rows = [row for row in range(len(labels)) if row not in unreadable]
    return listed if np.array_equal(listed[rows], labels[rows]) else labels
