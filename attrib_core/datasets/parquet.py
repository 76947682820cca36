"""Data sets in Parquet files as Hugging Face writes them, in a folder or an object store."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow.fs as pafs
from numpy.typing import NDArray

from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.encoded_images import encoded_dataset
from attrib_core.datasets.parquet_columns import ImageColumn, LabelColumn
from attrib_core.datasets.parquet_images import FAILURES, ParquetImages, num_rows, open_url
from attrib_core.datasets.parquet_shards import (
    MAX_NUMBERED_CLASSES,
    Shard,
    column_notes,
    joined_labels,
    names_in_rows,
    read_shard,
    row_names,
    same_columns,
)
from attrib_core.datasets.registry import Request, register
from attrib_core.datasets.splits import choose_files, describe_splits, training_split
from attrib_core.errors import in_one_line

MAX_COUNTED = 32  # shards of a split whose rows are counted for the list of splits


@register("parquet", location="URL")
def parquet(request: Request) -> Dataset:
    """Return the rows of a split's shards, in the order of the shards' names.

    The split of a shard is in the name of a folder above it, or in its own: `test-00000-of-00005.parquet`.
    """
    try:
        filesystem, base = open_url(request.location)
        paths = _shard_paths(filesystem, base)
        split, files = choose_files(request.name, [_parts(base, path) for path in paths], request.split)
        by_split = {each: [paths[row] for row in rows] for each, rows in files.items()}
        shards = [read_shard(filesystem, path, request) for path in by_split[split]]
        training = _training_names(filesystem, by_split, split, shards[0].label_column)
    except FAILURES as error:
        raise ValueError(f"dataset={request.name!r}: {error}") from error
    except ValueError:
        raise
    except Exception as error:
        # Other schemes, such as hf://, are read by libraries with exceptions of their own, above all for a network
        # that is not there.
        if "://" not in request.location:
            raise
        raise ValueError(
            f"dataset={request.name!r}: cannot be read ({in_one_line(error)}); check the "
            "address and the network, or give the folder of a local copy"
        ) from error
    image_column, _ = same_columns(request, shards)
    labels, class_names = joined_labels(request, shards, training)
    dataset = encoded_dataset(
        request,
        split=split,
        class_names=class_names_or_numbers(request, class_names, labels),
        labels=labels,
        keys=keys_of([path for shard in shards for path in shard.paths]),
        source=_source(_absolute(request.location, base), shards, image_column),
        notes=column_notes(shards),
        boxes=None if request.boxes_column is None else [each for shard in shards for each in shard.boxes],
        places=[place for shard in shards for place in row_names(shard.path, len(shard.labels))],
    )
    if len(by_split) == 1:
        return dataset
    return dataset.with_notes(describe_splits(_sizes(filesystem, by_split), split))


def _training_names(
    filesystem: Any, files: Mapping[str, Sequence[str]], chosen: str, label: LabelColumn
) -> set[str]:
    """Return the class names in the rows of the training split, where its files are not many."""
    split = training_split(files, chosen) if label.is_text else None
    if split is None or len(files[split]) > MAX_COUNTED:
        return set()
    return set().union(*(names_in_rows(filesystem, path, label) for path in files[split]))


def _shard_paths(filesystem: Any, base: str) -> list[str]:
    """Return the sorted Parquet files below a folder, without hidden ones; or the single file."""
    [place] = filesystem.get_file_info([base])
    if place.type == pafs.FileType.File:
        return [base]
    found = filesystem.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
    paths = [file.path for file in found if file.is_file and file.extension == "parquet"]
    visible = [path for path in paths if not any(part[0] in "._" for part in _parts(base, path))]
    if not visible:
        raise ValueError(f"{base}: no Parquet file, and no folder that holds some")
    return sorted(visible)


def _parts(base: str, path: str) -> tuple[str, ...]:
    """Return the folders and the file name below the base; for a single file only its name."""
    return PurePosixPath(path).relative_to(base).parts or (PurePosixPath(path).name,)


def _sizes(filesystem: Any, files: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return how many images each split has, as text.

    Other splits' shards are opened only for their number of rows, and not where there are many.
    """
    sizes: dict[str, str] = {}
    for each, paths in files.items():
        sizes[each] = f"{len(paths):,} files" if len(paths) > 1 else "1 file"
        if len(paths) <= MAX_COUNTED:
            try:
                sizes[each] = f"{sum(num_rows(filesystem, path) for path in paths):,} images"
            except Exception:  # a split that is not asked for, whatever a store says of it
                continue
    return sizes


def class_names_or_numbers(
    request: Request, names: tuple[str, ...], labels: NDArray[np.int64]
) -> tuple[str, ...]:
    """Return the class names; numbers if the rows have none. Raises ValueError for no rows, and large labels."""
    if not len(labels):
        raise ValueError(f"{request.name}: no rows")
    if names:
        return names
    if labels.max() >= MAX_NUMBERED_CLASSES:
        raise ValueError(
            f"{request.name}: label {labels.max()}, accepted are less than {MAX_NUMBERED_CLASSES} "
            "where the metadata name no classes"
        )
    return tuple(str(number) for number in range(int(labels.max()) + 1))


def keys_of(paths: Sequence[str | None]) -> tuple[str, ...]:
    """Return the images' paths if they are unique and safe as file names, else the numbers of the rows."""
    if len(set(paths)) == len(paths) and all(path and _is_safe(path) for path in paths):
        return tuple(str(path) for path in paths)
    return tuple(f"{row:05d}" for row in range(len(paths)))


def _is_safe(path: str) -> bool:
    """True for a relative path that stays inside its folder, because keys are used as file names."""
    parts = PurePosixPath(path.replace("\\", "/"))
    return path.isprintable() and not parts.is_absolute() and ".." not in parts.parts


def _absolute(location: str, base: str) -> str:
    # Workers have other working directories.
    return location if "://" in location else base


def _source(url: str, shards: Sequence[Shard], column: ImageColumn) -> ParquetImages:
    places = [(shard.path, number) for shard in shards for number in range(len(shard.row_group_sizes))]
    sizes = [size for shard in shards for size in shard.row_group_sizes]
    first_rows = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    return ParquetImages(url, places, first_rows, column)
