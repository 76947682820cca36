"""A folder of the user that has one folder of images for each class."""

from pathlib import Path

from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.image_files import class_folders, folder_dataset
from attrib_core.datasets.registry import Request, register
from attrib_core.datasets.splits import SPLITS, choose_split


@register("imagefolder", location="PATH")
def image_folder(request: Request) -> Dataset:
    """Return the images of PATH; classes are its folders, or those of its split folders, in sorted order."""
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
    """Return a folder's splits: folders with a split's name that hold class folders."""
    return [split for split in SPLITS if class_folders(path / split)]
