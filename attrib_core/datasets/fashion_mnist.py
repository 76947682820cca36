"""Fashion-MNIST: 60,000 + 10,000 grey images of 28×28 (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attrib_core.classifiers.fashion_networks import CLASS_NAMES
from attrib_core.datasets import fashion_mnist_files as files
from attrib_core.datasets.arrays import ArrayImages, array_digests
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.idx_files import REMEDY, find_file, parse_idx, read_bytes
from attrib_core.datasets.registry import Request, register
from attrib_core.datasets.splits import choose_split

PREFIXES = {"train": "train", "test": "t10k"}  # of the file names, by split
IMAGE_SIZE = 28


@register("fashion_mnist")
def fashion_mnist(request: Request) -> Dataset:
    """Return the split `train` or `test`, from the request's root, or else from the system, cache or network."""
    split = choose_split(request.name, PREFIXES, request.split)
    images_name, labels_name = (
        f"{PREFIXES[split]}-{name}" for name in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    folder = files.find_folder(request.root, (images_name, labels_name))
    # A user's own folder may hold a part of the set; any other source must have exactly the published files.
    is_pinned = request.root is None
    pixels = _read(folder, images_name, 3, is_pinned)
    labels = _read(folder, labels_name, 1, is_pinned)
    _check(pixels, labels, folder)
    return Dataset(
        name=request.name,
        split=split,
        class_names=CLASS_NAMES,
        labels=labels.astype(np.int64),
        keys=tuple(f"{index:05d}" for index in range(len(labels))),
        image_digests=array_digests(pixels),
        source=ArrayImages(pixels),
    )


def _read(folder: Path, name: str, num_dimensions: int, is_pinned: bool) -> NDArray[np.uint8]:
    path = find_file(folder, name)
    assert path is not None, f"{name} is in {folder} no more"
    content = read_bytes(path)
    array = parse_idx(content, num_dimensions, path)
    if is_pinned and hashlib.sha256(content).hexdigest() != files.SHA256[name]:
        raise ValueError(f"{path}: not the file of Fashion-MNIST, by its SHA-256; {REMEDY}")
    return array


def _check(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], folder: Path) -> None:
    if len(pixels) != len(labels) or not len(labels):
        raise ValueError(f"{folder}: {len(pixels)} images and {len(labels)} labels")
    if pixels.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"{folder}: images of {pixels.shape[1:]}, those of Fashion-MNIST have 28×28")
    if labels.max() >= len(CLASS_NAMES):
        wrong = int(np.argmax(labels >= len(CLASS_NAMES)))
        raise ValueError(f"{folder}: label {labels[wrong]} of image {wrong}, accepted are 0 to 9")
