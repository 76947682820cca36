"""Data sets of Hugging Face: `hf:NAME` on its hub, or in a local folder, read by its library `datasets`.

A local folder is one that `save_to_disk` wrote, or one of Parquet files or images that `load_dataset` reads.
"""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.encoded_images import Content, encoded_dataset
from attrib_core.datasets.label_names import plain
from attrib_core.datasets.parquet import class_names_or_numbers, keys_of
from attrib_core.datasets.parquet_columns import (
    ImageColumn,
    find_image_column,
    find_label_column,
    refuse_files_of_sweeps,
)
from attrib_core.datasets.parquet_images import ColumnImages
from attrib_core.datasets.parquet_shards import Shard, column_notes, joined_labels, read_features, read_labels
from attrib_core.datasets.registry import Request
from attrib_core.datasets.splits import ALL, choose_split, describe_splits, training_split
from attrib_core.datasets.unreadable import DamagedImageError
from attrib_core.errors import in_one_line
from attrib_core.references import Reference, typed_settings

Splits = Mapping[str, Any]  # tables of `datasets`, by split
SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` writes


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is opened, in every process alike: a name on the hub, or the full path of a folder."""

    name: str  # the reference, for messages
    place: str
    is_folder: bool
    config: str | None
    revision: str | None

    def open(self) -> Splits:
        """Return the tables by split. Raises ValueError for a name or a folder that cannot be read."""
        library = _library(self.name)
        try:
            if self.is_folder and any((Path(self.place) / each).is_file() for each in SAVED):
                found = library.load_from_disk(self.place)
            else:
                found = library.load_dataset(self.place, self.config, revision=self.revision)
        except Exception as error:  # of networks, the hub, and files of any kind
            remedy = "" if self.is_folder else "; check the name and the network, or give a local folder"
            raise ValueError(
                f"dataset={self.name!r}: cannot be read ({in_one_line(error)}){remedy}"
            ) from error
        tables = found if isinstance(found, Mapping) else {str(found.split or ALL): found}
        return {split: table.with_format("arrow") for split, table in tables.items()}


class TableImages(ColumnImages):
    """Images in a split's table, which each process opens when it first reads one."""

    def __init__(self, source: Source, split: str, column: ImageColumn, rows: Any) -> None:
        self.source, self.split, self.column = source, split, column
        self.digests: NDArray[np.uint8] | None = None  # [N, 32], of the images when they were first read
        self.length, self._rows = len(rows), rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": None}

    def contents(self, indices: Sequence[int], pool: Executor) -> Sequence[Content]:
        table = self._opened()[list(indices)][self.column.name]
        values = self.bytes_of(self.values(table))
        paths = pc.struct_field(table, "path").to_pylist() if self.column.has_paths else [None] * len(values)
        return list(pool.map(self._content, indices, values, paths))

    def _content(self, index: int, content: bytes | None, path: str | None) -> Content:
        if content is None and path is not None and Path(path).is_file():
            content = Path(path).read_bytes()
        if content is None:
            return DamagedImageError(index, self.missing())
        if self.digests is not None and hashlib.sha256(content).digest() != self.digests[index].tobytes():
            return DamagedImageError(index, "it is another image than when the sweep was started")
        return content

    def _opened(self) -> Any:
        if self._rows is None:
            rows = self.source.open()[self.split]
            if len(rows) != self.length:
                raise ValueError(
                    f"dataset={self.source.name!r}: {len(rows)} images here, {self.length} when the sweep was "
                    "started; accepted is a data set that is the same on every machine"
                )
            self._rows = rows
        return self._rows


def load(request: Request, reference: Reference) -> Dataset:
    """Return a split of the data set. Raises ValueError for what is not there, and unclear columns."""
    request = replace(request, name=str(reference))
    source = _source(request, reference)
    tables = source.open()
    split = choose_split(request.name, tables, request.split)
    rows = tables[split]
    image, part = _read_columns(request, rows)
    labels, names = joined_labels(request, [part], _training_names(tables, split, part))
    images = TableImages(source, split, image, rows)
    dataset = encoded_dataset(
        request,
        split=split,
        class_names=class_names_or_numbers(request, names, labels),
        labels=labels,
        keys=keys_of(part.paths),
        source=images,
        notes=column_notes([part]),
    )
    images.digests = dataset.image_digests  # what every later reading must find
    if len(tables) == 1:
        return dataset
    sizes = {each: f"{len(table):,} images" for each, table in tables.items()}
    return dataset.with_notes(describe_splits(sizes, split))


def _training_names(tables: Splits, chosen: str, part: Shard) -> set[str]:
    """Return the class names in the rows of the training split, if labels are text."""
    split = training_split(tables, chosen) if part.label_column.is_text else None
    if split is None or part.label_column.name not in tables[split].features:
        return set()
    values = _column(tables[split], part.label_column.name).unique().to_pylist()
    return {name for name in values if isinstance(name, str) and plain(name)}


def _source(request: Request, reference: Reference) -> Source:
    place = ":".join(reference.rest)
    path = Path(place).expanduser()
    if place[0] in "/.~" and not path.is_dir():
        raise ValueError(f"dataset={request.name!r}: no such folder")
    settings = typed_settings("dataset", reference, _settings)
    return Source(
        name=request.name,
        # Absolute, because workers have other working directories.
        place=str(path.absolute()) if path.is_dir() else place,
        is_folder=path.is_dir(),
        config=settings.get("config"),
        revision=settings.get("revision"),
    )


def _settings(*, config: str | None = None, revision: str | None = None) -> None:
    """Stand for what a reference may set: a configuration of the data set, and a version on the hub."""


def _read_columns(request: Request, rows: Any) -> tuple[ImageColumn, Shard]:
    """Return the column of images, and the table without it. Raises ValueError as for Parquet files."""
    schema = rows.features.arrow_schema
    features = read_features(schema.metadata or {})
    try:
        refuse_files_of_sweeps(schema, request.label_column)
        image = find_image_column(schema, features, request.image_column)
        label = find_label_column(schema, features, request.label_column)
        labels, names = read_labels(_column(rows, label.name), label, features, request.name)
    except ValueError as error:
        raise ValueError(f"dataset={request.name!r}: {error}") from error
    paths = [None] * len(rows)
    if image.has_paths:
        paths = pc.struct_field(_column(rows, image.name), "path").to_pylist()
    return image, Shard(
        path=request.name,
        row_group_sizes=(len(rows),),
        image_column=image,
        label_column=label,
        labels=labels,
        paths=tuple(paths),
        class_names=names,
    )


def _column(rows: Any, name: str) -> Any:
    return rows.select_columns([name])[:][name]


def _library(name: str) -> Any:
    try:
        return importlib.import_module("datasets")  # here, because it is an extra
    except ImportError as error:
        raise ValueError(
            f"dataset={name!r}: datasets is not installed; accepted after pip install 'attrib-sweeps[hf]'"
        ) from error
