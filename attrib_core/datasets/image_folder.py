"""Any folder with one folder of images a class."""

from pathlib import Path

from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.image_files import class_folders, folder_dataset
from attrib_core.datasets.registry import Request, register
from attrib_core.datasets.splits import SPLITS, choose_split


@register("imagefolder", location="PATH")
def image_folder(request: Request) -> Dataset:
    """Classes are the folders in sorted order, either in PATH or in its split folders."""
    path = Path(request.location).expanduser()
    if not path.is_dir():
        raise ValueError(f"dataset={request.name!r}: no such folder")
    splits = split_folders(path)
    split = choose_split(request.name, splits, request.split)
    folder = path / split if splits else path
    class_names = class_folders(folder)
    if not class_names:
        raise ValueError(f"dataset={request.name!r}: no class folders in {str(folder)!r}")
    return folder_dataset(request, folder, split, class_names)


def split_folders(path: Path) -> list[str]:
    """The splits that a folder has: folders called like one that hold class folders, not images."""
    return [split for split in SPLITS if class_folders(path / split)]
