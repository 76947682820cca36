"""The part of a Parquet shard that is read before its images: rows, labels, paths, class names."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from attrib_core.datasets.boxes import find_boxes_column, read_boxes
from attrib_core.datasets.label_names import plain, without_twins
from attrib_core.datasets.parquet_columns import (
    Features,
    ImageColumn,
    LabelColumn,
    find_image_column,
    find_label_column,
    is_text,
    refuse_files_of_sweeps,
    storage_type,
)
from attrib_core.datasets.parquet_images import FAILURES, decoded, open_shard
from attrib_core.datasets.registry import Request
from attrib_core.datasets.splits import numbered_as_in_training

UNLABELLED = -1  # what Hugging Face writes in test sets
MAX_NUMBERED_CLASSES = 100_000  # more are a sign that a label is something else


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One Parquet file without its images; `paths` are the file names that it stores for them."""

    path: str
    row_group_sizes: tuple[int, ...]
    image_column: ImageColumn
    label_column: LabelColumn
    labels: NDArray[np.int64]  # [N]; of text the positions in `class_names`
    paths: tuple[str | None, ...]  # [N]
    class_names: tuple[str, ...]  # empty if the file does not say
    boxes: tuple[NDArray[np.float64], ...] = ()  # [n, 4] by row, if they were asked for


def read_shard(filesystem: Any, path: str, request: Request) -> Shard:
    """Read everything except the images; ValueError naming the file if it lacks a column or a label."""
    try:
        with open_shard(filesystem, path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            refuse_files_of_sweeps(schema, request.label_column)
            features = read_features(schema.metadata or {})
            image = find_image_column(schema, features, request.image_column)
            label = find_label_column(schema, features, request.label_column)
            boxes = [] if request.boxes_column is None else [find_boxes_column(schema, request.boxes_column)]
            paths_column = [f"{image.name}.path"] if image.has_paths else []
            table = file.read(columns=[label.name, *paths_column, *boxes])
    except (*FAILURES, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    paths = pc.struct_field(table[image.name], "path").to_pylist() if image.has_paths else [None] * len(table)
    labels, class_names = read_labels(table[label.name], label, features, path)
    return Shard(
        path=path,
        row_group_sizes=tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)),
        image_column=image,
        label_column=label,
        labels=labels,
        paths=tuple(paths),
        class_names=class_names,
        boxes=_boxes(request, path, table[boxes[0]]) if boxes else (),
    )


def _boxes(request: Request, path: str, column: Any) -> tuple[NDArray[np.float64], ...]:
    name = request.boxes_column or ""
    return tuple(read_boxes(name, column.to_pylist(), request.boxes_format, row_names(path, len(column))))


def row_names(path: str, count: int) -> list[str]:
    """Return how messages name the rows of a file."""
    return [f"{path}: row {row}" for row in range(count)]


def read_labels(
    column: Any, label: LabelColumn, features: Features, where: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the labels `[N]` in a column, and the class names, empty if there are none.

    Raises ValueError for rows without a label and for numbers that are none.
    """
    values = decoded(column)
    if values.null_count:
        raise ValueError(f"{where}: {values.null_count} rows without a label")
    if label.is_text:
        return _text_labels(values, where)
    return _integers(values, where), _class_names(features, label.name, where)


def same_columns(request: Request, shards: Sequence[Shard]) -> tuple[ImageColumn, LabelColumn]:
    """Return the columns of all shards. Raises ValueError for shards whose columns differ."""
    first = shards[0]
    for shard in shards:
        if _forms(shard) != _forms(first):
            raise ValueError(
                f"{request.name}: its files differ: {first.path} has {_columns(first)}, {shard.path} has "
                f"{_columns(shard)}; accepted are files of one kind"
            )
    return first.image_column, first.label_column


def joined_labels(
    request: Request, shards: Sequence[Shard], training: Collection[str] = ()
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the labels `[N]` of all shards and the class names; the latter are empty if the shards have none.

    Names that stand in the rows themselves are classes in sorted order, as in the training split (`training`) if
    it has such. Raises ValueError for rows without label.
    """
    if shards[0].label_column.is_text:
        return _joined_names(shards, training)
    for shard in shards:
        if shard.class_names != shards[0].class_names:
            raise ValueError(f"{request.name}: {shards[0].path} and {shard.path} name different classes")
    labels = np.concatenate([shard.labels for shard in shards])
    if unlabelled := int((labels == UNLABELLED).sum()):
        raise ValueError(
            f"{request.name}: {unlabelled} of {len(labels)} rows have label -1 (unlabelled); accepted is a split "
            "with labels (--split), or files without these rows"
        )
    if len(labels) and labels.min() < 0:
        raise ValueError(f"{request.name}: label {labels.min()}, accepted are 0 and more")
    return labels, shards[0].class_names


def _joined_names(
    shards: Sequence[Shard], training: Collection[str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    own: set[str] = set().union(*(shard.class_names for shard in shards))
    called = without_twins({*own, *training})
    names = numbered_as_in_training((called[each] for each in own), (called[each] for each in training))
    positions = {name: index for index, name in enumerate(names)}
    tables = [np.array([positions[called[each]] for each in shard.class_names], np.int64) for shard in shards]
    parts = [table[shard.labels] for table, shard in zip(tables, shards, strict=True)]
    return np.concatenate(parts), names


def names_in_rows(filesystem: Any, path: str, label: LabelColumn) -> set[str]:
    """Return the class names in a column of text of another file; empty if it has no such column.

    Raises ValueError naming a file that cannot be read.
    """
    try:
        with open_shard(filesystem, path) as file:
            names = file.schema_arrow.names
            if label.name not in names or not is_text(storage_type(file.schema_arrow.field(label.name).type)):
                return set()
            values = decoded(file.read(columns=[label.name])[label.name])
    except FAILURES as error:
        raise ValueError(f"{path}, whose labels say how classes are numbered: {error}") from error
    return {name for name in values.unique().to_pylist() if name is not None and plain(name)}


def column_notes(shards: Sequence[Shard]) -> tuple[str, ...]:
    """Return what a user should know of the columns that were found."""
    image, label = shards[0].image_column, shards[0].label_column
    notes = []
    if (image.name, label.name) != ("image", "label") or label.is_text:
        notes.append(f"images are in column {image.describe()}, labels in {label.describe()}")
    if label.is_float:
        notes.append(f"labels in column {label.name} are stored as floats, all of them integers")
    return tuple(notes)


def _forms(shard: Shard) -> tuple[object, ...]:
    image, label = shard.image_column, shard.label_column
    return image.name, image.in_struct, image.shape, label.name, label.is_text


def _columns(shard: Shard) -> str:
    return f"{shard.image_column.describe()} and {shard.label_column.describe()}"


def _text_labels(values: Any, where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the positions of the labels among their sorted names, and the names."""
    texts = values.to_pylist()
    if empty := [row for row, text in enumerate(texts) if not plain(text)]:
        raise ValueError(
            f"{where}: row {empty[0]}: its label is {texts[empty[0]]!r}, as in {len(empty)} of {len(texts)} rows; "
            "accepted is a class name in each row"
        )
    names = sorted(set(texts))
    positions = {name: index for index, name in enumerate(names)}
    return np.array([positions[text] for text in texts], dtype=np.int64), tuple(names)


def _integers(labels: Any, path: str) -> NDArray[np.int64]:
    if pa.types.is_decimal(labels.type):
        labels = labels.cast(pa.float64())
    try:
        return np.asarray(labels.cast(pa.int64()).to_numpy(), dtype=np.int64)
    except pa.ArrowInvalid as error:
        if pa.types.is_floating(labels.type):
            raise ValueError(f"{path}: labels that are no integers ({error})") from error
        raise ValueError(f"{path}: label beyond 64 bits ({error})") from error


def read_features(metadata: dict[bytes, bytes]) -> Features:
    """Return Hugging Face's description of the columns; empty if there is none."""
    try:
        description: Any = json.loads(metadata.get(b"huggingface", b"{}"))
        for part in ("info", "features"):
            description = description.get(part) or {}
        return dict(description)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"its `huggingface` metadata cannot be understood ({error})") from error


def _class_names(features: Features, label: str, path: str) -> tuple[str, ...]:
    """Return the names of the classes in a description of the columns; empty if there are none."""
    try:
        names = (features.get(label) or {}).get("names") or ()
    except AttributeError as error:
        raise ValueError(f"{path}: its `huggingface` metadata cannot be understood ({error})") from error
    return tuple(str(name) for name in names)
