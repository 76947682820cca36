"""The part of a Parquet shard that is read before its images: rows, labels, paths, class names."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from attrib_core.datasets.parquet_images import FAILURES, open_shard

REQUIRED = "an `image` column of struct<bytes: binary, path: string> and an integer `label` column"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One Parquet file without its images; `paths` are the file names that it stores for them."""

    path: str
    row_group_sizes: tuple[int, ...]
    labels: NDArray[np.int64]  # [N]
    paths: tuple[str | None, ...]  # [N]
    class_names: tuple[str, ...]  # empty if the file does not say


def read_shard(filesystem: Any, path: str) -> Shard:
    """Read everything except the images; ValueError naming the file if it lacks a column or a label."""
    try:
        with open_shard(filesystem, path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            has_paths = "path" in _checked_image_fields(schema, path)
            table = file.read(columns=["label", "image.path"] if has_paths else ["label"])
    except FAILURES as error:
        raise ValueError(f"{path}: {error}") from error
    if table["label"].null_count:
        raise ValueError(f"{path}: {table['label'].null_count} rows without a label")
    paths = pc.struct_field(table["image"], "path").to_pylist() if has_paths else [None] * len(table)
    return Shard(
        path=path,
        row_group_sizes=tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)),
        labels=_int64(table["label"], path),
        paths=tuple(paths),
        class_names=_class_names(schema.metadata or {}, path),
    )


def _checked_image_fields(schema: Any, path: str) -> set[str]:
    """Return the fields of the image column; ValueError if it has no bytes."""
    columns = {field.name: field.type for field in schema}
    image, label = columns.get("image", pa.null()), columns.get("label", pa.null())
    fields = {field.name: field.type for field in image} if pa.types.is_struct(image) else {}
    if fields.get("bytes") not in (pa.binary(), pa.large_binary()) or not pa.types.is_integer(label):
        found = ", ".join(f"{name}: {type_}" for name, type_ in columns.items())
        raise ValueError(f"{path}: has {found}; needed are {REQUIRED}")
    return set(fields)


def _int64(labels: Any, path: str) -> NDArray[np.int64]:
    try:
        return np.asarray(labels.cast(pa.int64()).to_numpy(), dtype=np.int64)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: label beyond 64 bits ({error})") from error


def _class_names(metadata: dict[bytes, bytes], path: str) -> tuple[str, ...]:
    """Return the names in Hugging Face's description of the `label` column; empty if there is none."""
    try:
        description: Any = json.loads(metadata.get(b"huggingface", b"{}"))
        for part in ("info", "features", "label"):
            description = description.get(part) or {}
        names = description.get("names") or ()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: its `huggingface` metadata cannot be understood ({error})") from error
    return tuple(str(name) for name in names)
