"""A folder of the user that has one folder of images for each class."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.image_files import class_folders, folder_dataset, image_paths
from attrib_core.datasets.registry import Request, register
from attrib_core.datasets.splits import (
    ALL,
    choose_split,
    describe_splits,
    keyword_of,
    named_splits,
    numbered_as_in_training,
    training_split,
)

MAX_COUNTED = 100_000  # image files that are counted for the list of splits


@register("imagefolder", location="PATH")
def image_folder(request: Request) -> Dataset:
    """Return the images of PATH; classes are its folders, or those of its split folders, in sorted order.

    The splits may also be inside the classes' folders: folders such as `cat/test`, or the names of all files.
    """
    path = Path(request.location).expanduser()
    if not path.is_dir():
        raise ValueError(f"dataset={request.name!r}: no such folder")
    folders = split_folders(path)
    if not folders:
        return _inner_split(request, path)
    split = choose_split(request.name, folders, request.split)
    own, training = class_folders(folders[split]), training_split(folders, split)
    names = numbered_as_in_training(own, class_folders(folders[training]) if training else ())
    dataset = folder_dataset(request, folders[split], split, names, without_images=set(names) - set(own))
    return dataset.with_notes(
        describe_splits({each: _size(folder) for each, folder in folders.items()}, split),
        *([f"classes are numbered as in {training}"] if list(names) != own else []),
    )


def split_folders(path: Path) -> dict[str, Path]:
    """Return a folder's splits: folders with a split's name that hold class folders.

    A name with more than a keyword, such as `train_images`, counts only where each folder is a split: a class
    may be called `test tube`.
    """
    folders = [folder for folder in class_folders(path) if class_folders(path / folder)]
    exact = [folder for folder in folders if keyword_of(folder) == folder.casefold()]
    everything = class_folders(path)
    if not all(folder in folders and keyword_of(folder) for folder in everything):
        folders = exact
    words = {keyword_of(folder) or folder: folder for folder in folders}
    if len(words) < len(folders):  # two of one keyword, such as `test` and `test_hard`
        return {folder: path / folder for folder in folders}
    return {split: path / words[word] for split, word in named_splits(words).items()}


def _inner_split(request: Request, path: Path) -> Dataset:
    """Return the images of a folder of classes, or of a split inside of them.

    Raises ValueError where there are several and none is asked for.
    """
    class_names = class_folders(path)
    if not class_names:
        raise ValueError(f"dataset={request.name!r}: no class folders in {str(path)!r}")
    words = _inner_words(path, class_names)
    splits = named_splits(words.values())
    if len(splits) < 2:
        split = choose_split(request.name, (), request.split)
    elif request.split is None:
        raise ValueError(
            f"{request.name}: its classes hold images of the splits {', '.join(splits)}; "
            f"accepted as --split are {', '.join((*splits, ALL))}"
        )
    else:
        split = choose_split(request.name, (*splits, ALL), request.split)
    return folder_dataset(
        request, path, split, class_names, lambda key: split == ALL or words.get(key) == splits[split]
    )


def _inner_words(path: Path, class_names: Sequence[str]) -> dict[str, str]:
    """Return the keyword of each image by its key, from the folders inside its class's folder.

    Where there are none, the names of the files count if each of them begins with a keyword: a single name such
    as `train_station.jpg` says nothing.
    """
    keys = [file.relative_to(path).as_posix() for name in class_names for file in image_paths(path / name)]
    by_folder = {key: word for key in keys if (word := _exact_keyword(PurePosixPath(key).parts[1:-1]))}
    if by_folder:
        return by_folder
    by_name = {key: word for key in keys if (word := _first_keyword(PurePosixPath(key).name))}
    return by_name if len(by_name) == len(keys) else {}


def _exact_keyword(folders: Sequence[str]) -> str | None:
    return next((folder.casefold() for folder in folders if keyword_of(folder) == folder.casefold()), None)


def _first_keyword(name: str) -> str | None:
    keyword = keyword_of(name)
    return keyword if keyword and name.casefold().startswith(keyword) else None


def _size(folder: Path) -> str:
    """Return the number of images in a folder, as text; of a very large one only that it is one."""
    count = sum(1 for _ in islice(image_paths(folder), MAX_COUNTED))
    return f"{count:,} images" if count < MAX_COUNTED else f"{MAX_COUNTED:,} images and more"
