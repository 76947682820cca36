"""The Kaggle flowers: 4,317 photographs of five flowers (kaggle.com/alxmamaev/flowers-recognition)."""

import hashlib
from pathlib import Path

from attrib_core.classifiers.flower_networks import CLASS_NAMES
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.image_files import class_folders, folder_dataset
from attrib_core.datasets.image_folder import split_folders
from attrib_core.datasets.registry import Request, register
from attrib_core.datasets.splits import ALL, choose_split

TEST_SHARE = 5  # one image in five
HOW_TO_GET = (
    "download https://www.kaggle.com/datasets/alxmamaev/flowers-recognition, unpack it, "
    "and give its folder as --data-root"
)


@register("flowers")
def flowers(request: Request) -> Dataset:
    """Return a split: by folders if there are some, else by the SHA-256 of each path, the same on any machine."""
    if request.root is None:
        raise ValueError(f"dataset={request.name!r}: needs a data root; {HOW_TO_GET}")
    # The archive holds a copy of itself, or its only copy, in a folder of this name.
    for root in (request.root, request.root / "flowers"):
        if _has_classes(root):
            return _split_by_paths(request, root)
        if folders := {each: path for each, path in split_folders(root).items() if _has_classes(path)}:
            split = choose_split(request.name, folders, request.split)
            return folder_dataset(request, folders[split], split, CLASS_NAMES)
    raise ValueError(
        f"data_root={str(request.root)!r}: lacks the folders {', '.join(CLASS_NAMES)}; {HOW_TO_GET}"
    )


def _split_by_paths(request: Request, folder: Path) -> Dataset:
    split = choose_split(request.name, ("test", "train", ALL), request.split)
    return folder_dataset(request, folder, split, CLASS_NAMES, lambda key: split in (ALL, _split(key)))


def _has_classes(folder: Path) -> bool:
    return set(CLASS_NAMES) <= set(class_folders(folder))


def _split(key: str) -> str:
    number = int.from_bytes(hashlib.sha256(key.encode()).digest())
    return "train" if number % TEST_SHARE else "test"
