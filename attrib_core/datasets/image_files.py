"""Folders of images: the image files, their order and their classes."""

import os
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.encoded_images import Content, EncodedImages, encoded_dataset
from attrib_core.datasets.registry import Request
from attrib_core.datasets.unreadable import DamagedImageError

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)


class ImageFiles(EncodedImages):
    """Image files below a folder that has the same path on every machine; `keys` are relative to it.

    Their EXIF orientation is ignored, as torchvision's ImageFolder does, with which such folders are trained on.
    """

    def __init__(self, folder: Path, keys: tuple[str, ...]) -> None:
        self.folder, self.keys = folder, keys

    def contents(self, indices: Sequence[int], pool: Executor) -> Sequence[Content]:
        return list(pool.map(self._content, indices))

    def _content(self, index: int) -> Content:
        try:
            return (self.folder / self.keys[index]).read_bytes()
        except OSError as error:
            return DamagedImageError(index, f"cannot be read: {error}")


def folder_dataset(
    request: Request,
    folder: Path,
    split: str,
    class_names: Sequence[str],
    keep: Callable[[str], bool] = lambda key: True,
    *,
    without_images: Container[str] = (),
) -> Dataset:
    """Return the images in a folder's class folders; `keep` selects them by key (relative path).

    `without_images` are classes that have no folder.

    Raises ValueError naming a class without images, or a file that is not an image.
    """
    # Absolute, because workers have other working directories.
    folder = folder.absolute()
    keys: list[str] = []
    labels: list[int] = []
    for label, class_name in enumerate(class_names):
        if class_name in without_images:
            continue
        found = _keys(folder, class_name)
        if not found:
            raise ValueError(f"{request.name}: class folder {str(folder / class_name)!r} has no images")
        kept = [key for key in found if keep(key)]
        keys += kept
        labels += [label] * len(kept)
    return encoded_dataset(
        request,
        split=split,
        class_names=tuple(class_names),
        labels=np.array(labels, dtype=np.int64),
        keys=tuple(keys),
        source=ImageFiles(folder, tuple(keys)),
    )


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, without hidden ones; [] if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir())


def _keys(folder: Path, class_name: str) -> list[str]:
    """Return the sorted paths of a class's images, relative to the folder, without hidden files."""
    keys = sorted(path.relative_to(folder).as_posix() for path in image_paths(folder / class_name))
    for key in keys:
        if not key.isprintable():
            raise ValueError(f"{str(folder)!r}: file name {key!r} is not UTF-8, or has control characters")
    return keys


def image_paths(folder: Path, parents: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yield the image files below a folder; follows links as torchvision does, but stops at circles."""
    place = os.path.realpath(folder)
    if place in parents:
        return
    for entry in _entries(folder):
        path = folder / entry.name
        if entry.is_dir():
            yield from image_paths(path, parents | {place})
        elif path.suffix.lower() in EXTENSIONS:
            yield path


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
