"""Map-style data sets of other libraries and of users: anything with a length that gives (image, label) by index.

The driver reads every image once, for labels and digests. Other processes get the reference, open the data set for
themselves, and compare each image that they read with its digest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from attrib_core.datasets.dataset import Dataset, ImageSource
from attrib_core.datasets.encoded_images import refuse_unreadable
from attrib_core.datasets.item_labels import LabelReader, class_names_of, targets_of
from attrib_core.datasets.items import ITEM_FORMS, ItemError, as_image, image_and_label, image_digest
from attrib_core.datasets.registry import Request
from attrib_core.datasets.scanning import CHANGES, Opening, Scanned, refuse_random, scan
from attrib_core.datasets.unreadable import DamagedImageError, UnreadableImagesError
from attrib_core.datasets.view import View
from attrib_core.errors import in_one_line
from attrib_core.user_code import failure


class MappedImages(ImageSource):
    """Images of a map-style data set that each process opens when it first reads one; `digests` `[N, 32]`."""

    def __init__(self, name: str, opening: Opening, digests: NDArray[np.uint8]) -> None:
        self.name, self.digests = name, digests
        self.opener, self.columns, self.file = opening.opener, opening.columns, opening.file
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


def mapped_dataset(request: Request, opening: Opening, split: str) -> Dataset:
    """Return a data set of a map-style one's images, after reading each of them once.

    Raises ValueError naming the first image whose item is of no accepted form, images that differ when read
    again, and labels that do not fit.
    """
    items = opening.items
    keys = tuple(f"{index:05d}" for index in range(len(items)))
    try:
        if opening.file is not None:
            refuse_random(request, opening)
        class_names = class_names_of(items)
        found = _read(request, opening, LabelReader(class_names))
        refuse_unreadable(request, keys, found.unreadable)
        labels, names, notes = found.labels.finish()
    except ItemError as error:
        raise ValueError(f"dataset={request.name!r}: {error}") from error
    return Dataset(
        name=request.name,
        split=split,
        class_names=names,
        labels=_with_targets(items, class_names, labels, found.unreadable),
        keys=keys,
        image_digests=found.digests,
        source=MappedImages(request.name, opening, found.digests),
        unreadable=found.unreadable,
        notes=(*notes, *found.notes()),
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
        raise ValueError(f"{where}: its length fails: {in_one_line(error)}") from error
    if not count:
        raise ValueError(f"{where}: it has no images")


@dataclass(kw_only=True)
class _Found:
    """What reading all images has found."""

    labels: LabelReader
    digests: NDArray[np.uint8]  # [N, 32]
    unreadable: dict[int, str] = field(default_factory=dict)  # reasons by index
    num_rounded: int = 0
    largest_change: float = 0.0  # of a value in [0, 1] by rounding it to 8 bits

    def notes(self) -> tuple[str, ...]:
        """Return a line about images that are rounded, if there are some."""
        if not self.num_rounded:
            return ()
        return (
            f"{self.num_rounded:,} images are floats that are no multiples of 1/255; rounded to 8 bits, which "
            f"changes a value by up to {self.largest_change:.4f} of 1",
        )


def _read(request: Request, opening: Opening, labels: LabelReader) -> _Found:
    found = _Found(labels=labels, digests=np.zeros((len(opening.items), 32), np.uint8))
    for index, image in enumerate(scan(request, opening)):
        found.digests[index] = np.frombuffer(image.digest, np.uint8)
        if image.reason is not None:
            found.unreadable[index] = image.reason
        _add_label(labels, image, index)
        found.num_rounded += image.change > 0
        found.largest_change = max(found.largest_change, image.change)
    return found


def _add_label(reader: LabelReader, found: Scanned, index: int) -> None:
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
