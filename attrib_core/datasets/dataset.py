"""A data set: labels, keys and digests are in memory, images are read when needed."""

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from attrib_core.datasets.boxes import Boxes
from attrib_core.datasets.unreadable import DamagedImageError, UnreadableImagesError
from attrib_core.datasets.view import View


class ImageSource(ABC):
    """Storage of images: an array, a folder, Parquet shards. It is pickled and sent to other machines."""

    @abstractmethod
    def read(self, indices: Sequence[int], view: View) -> NDArray[np.uint8]:
        """Return images `[B, C, H, W]` in a new, writable array.

        Raises UnreadableImagesError for all that cannot be decoded, DamagedImageError for one without its bytes.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled images; picklable, since it holds only small things and numpy arrays in memory."""

    name: str
    split: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]  # [N]
    keys: Sequence[str]  # [N], unique and stable: a relative path, or a number
    image_digests: NDArray[np.uint8]  # [N, 32], SHA-256 of each image's bytes
    source: ImageSource
    # Why an image cannot be used, by index, as far as its header tells; its digest is zero if it has no bytes.
    unreadable: Mapping[int, str] = field(default_factory=dict)
    num_turned: int = 0  # images that are turned as their EXIF orientation says
    definition: str | None = None  # which code of a user's made it, in words that change with the code
    boxes: Boxes | None = None  # around what the images show, where the data set says so
    notes: tuple[str, ...] = ()  # what a user should know of how the files were read, in a line each
    digest: str = field(init=False)  # SHA-256 over class names, keys, labels and images, as hexadecimal

    def __post_init__(self) -> None:
        assert len(self.labels) == len(self.keys) == len(self.image_digests)
        object.__setattr__(self, "digest", self._content_digest())

    def __len__(self) -> int:
        return len(self.keys)

    def images(self, indices: Sequence[int], preprocessing: View) -> NDArray[np.uint8]:
        """Return images `[B, C, H, W]` of 8 bits, resized and cropped as a classifier expects them.

        Raises ValueError naming the data set and the key of an image that cannot be read, UnreadableImagesError
        if its bytes are at fault.
        """
        positions = [int(index) for index in indices]
        for position in positions:
            if not 0 <= position < len(self):
                raise ValueError(f"{self.name}: image index {position}, accepted are 0 to {len(self) - 1}")
        try:
            if known := {index: self.unreadable[index] for index in positions if index in self.unreadable}:
                raise UnreadableImagesError(known)
            return self.source.read(positions, preprocessing)
        except UnreadableImagesError as error:
            raise UnreadableImagesError(error.reasons, self._naming(*first(error.reasons))) from error
        except DamagedImageError as error:
            raise ValueError(self._naming(error.index, error.reason)) from error

    def _naming(self, index: int, reason: str) -> str:
        return f"{self.name}: image {self.keys[index]!r}: {reason}"

    def with_notes(self, *notes: str) -> Self:
        """Return the same data set with further lines for the user."""
        noted = copy.copy(self)  # not `replace`, which would compute the digest again
        object.__setattr__(noted, "notes", (*self.notes, *notes))
        return noted

    def _content_digest(self) -> str:
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for key, label, image in zip(self.keys, self.labels.tolist(), self.image_digests, strict=True):
            digest.update(json.dumps([key, label, image.tobytes().hex()]).encode())
        return digest.hexdigest()


class SelectedImages(ImageSource):
    """A selection of another source's images; `rows` `[N]` are their indices there."""

    def __init__(self, source: ImageSource, rows: NDArray[np.int64]) -> None:
        self.source, self.rows = source, rows

    def read(self, indices: Sequence[int], view: View) -> NDArray[np.uint8]:
        try:
            return self.source.read(self.rows[list(indices)].tolist(), view)
        except DamagedImageError as error:
            position = int(np.flatnonzero(self.rows == error.index)[0])
            raise DamagedImageError(position, error.reason) from error
        except UnreadableImagesError as error:
            raise UnreadableImagesError(selected(error.reasons, self.rows)) from error


def selected(reasons: Mapping[int, str], rows: NDArray[np.int64]) -> dict[int, str]:
    """Return the reasons of the images at `rows` by their position among these."""
    return {place: reasons[row] for place, row in enumerate(rows.tolist()) if row in reasons}


def first(reasons: Mapping[int, str]) -> tuple[int, str]:
    """Return index and reason of the first image."""
    return min(reasons.items())


def subset(dataset: Dataset, class_names: Iterable[str]) -> Dataset:
    """Return the images of some classes, with labels from 0 in sorted order of the names.

    Raises ValueError for a name that is not a class of the data set, and if there are no names.
    """
    names = tuple(sorted(set(class_names)))
    if not names or (unknown := [name for name in names if name not in dataset.class_names]):
        wrong = ", ".join(unknown) if names else "none"
        raise ValueError(
            f"{dataset.name}: classes {wrong}; accepted are some of {_shortened(dataset.class_names)}"
        )
    old_labels = np.array([dataset.class_names.index(name) for name in names])
    rows = np.flatnonzero(np.isin(dataset.labels, old_labels))
    new_labels = np.full(len(dataset.class_names), -1, dtype=np.int64)
    new_labels[old_labels] = np.arange(len(names))
    return Dataset(
        name=f"{dataset.name}[{','.join(names)}]",
        split=dataset.split,
        class_names=names,
        labels=new_labels[dataset.labels[rows]],
        keys=tuple(dataset.keys[row] for row in rows.tolist()),
        image_digests=dataset.image_digests[rows],
        source=SelectedImages(dataset.source, rows),
        unreadable=selected(dataset.unreadable, rows),
        definition=dataset.definition,
        boxes=None if dataset.boxes is None else dataset.boxes.selected(rows),
    )


def _shortened(names: Sequence[str], count: int = 10) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
