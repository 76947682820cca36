"""Committed results and images of a run directory, on a local disk or in an object store."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from sweeps.schemas import DICTIONARY_COLUMNS, IMAGE_COLUMNS, SCHEMA_VERSION
from sweeps.store import RunDirectory
from sweeps.store.errors import explained
from sweeps.store.maintenance import open_run

_JUDGE_STRUCTS = ("judge_top1", "judge_top5_hit")

# Results files are small and a read waits for the disk or the network, not for the processor.
_NUM_RESULT_READERS = 16
# A row group of images may hold 100 MB.
_NUM_IMAGE_READERS = 4


def results(run: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Every committed row of a run directory (a path or URL), in the order of the shard ids.

    A judge's field of a struct column is a column too: `judge_top1.NAME`, `judge_top5_hit.NAME`; `columns`
    takes both spellings. Text of few distinct values is categorical, its categories sorted. Raises ValueError
    for what is no run directory, a run without results, an unknown column and an unknown schema version.
    """
    directory = open_run(str(run))
    with explained(directory.url, "read"), ThreadPoolExecutor(_NUM_RESULT_READERS) as pool:
        names = sorted(entry.name for entry in directory.results())
        _refuse_empty(directory, names)
        tables = list(pool.map(lambda name: _read_rows(directory, name, columns), names))
    table = _flatten_judges(pa.concat_tables(tables, promote_options="permissive"))
    if columns is not None:
        _refuse_unknown(columns, table.column_names, run)
        table = table.select(list(columns))
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas()
    for name in frame.columns[frame.dtypes == "category"]:
        # Grouping follows the order of the categories, which must not depend on which shard came first.
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    return frame


def column_names(run: str | Path) -> list[str]:
    """Names of the columns that `results` gives for this run, read from one of its shards."""
    directory = open_run(str(run))
    with explained(directory.url, "read"):
        first = [entry.name for entry in islice(directory.results(), 1)]
        _refuse_empty(directory, first)
        empty = _open_rows(directory, first[0]).schema_arrow.empty_table()
    names: list[str] = _flatten_judges(empty).column_names
    return names


def sweep(run: str | Path) -> dict[str, Any]:
    """The content of sweep.json: configuration, growth history and provenance."""
    return open_run(str(run)).read_sweep() or {}


def images(
    run: str | Path, keys: Iterable[str], *, rows: pd.DataFrame | None = None
) -> list[NDArray[np.uint8]]:
    """The images `[H, W, C]` of the given keys, in their order: an `image_key`, or another column's of images.

    `rows` are rows of `results` that name these keys: they spare a caller who reads page after page the
    search through all results. Only the image files and row groups that hold a key are read. Raises
    ValueError for a key that no row or no image file has.
    """
    directory, keys = open_run(str(run)), list(keys)
    if rows is None:
        pairs = _image_pairs(column_names(run))
        rows = results(run, [column for pair in pairs for column in pair])
    file_of = _files_of(keys, rows)
    _refuse_missing(keys, file_of, f"the results of {directory.url}")
    keys_of: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        keys_of[file_of[key]].add(key)
    with explained(directory.url, "read"), ThreadPoolExecutor(_NUM_IMAGE_READERS) as pool:
        parts = list(pool.map(lambda name: _read_images(directory, name, keys_of[name]), keys_of))
    found = {key: image for part in parts for key, image in part.items()}
    return [found[key] for key in keys]


def _image_pairs(columns: Iterable[str]) -> list[tuple[str, str]]:
    """The columns of image keys among these, each with that of the files that hold them."""
    known = set(columns)
    pairs = [(f"{column}_key", f"{column}_file") for column in IMAGE_COLUMNS]
    return [pair for pair in pairs if known.issuperset(pair)]


def _files_of(keys: Sequence[str], rows: pd.DataFrame) -> dict[str, str]:
    """The image file of each key that the rows name."""
    file_of: dict[str, str] = {}
    for key_column, file_column in _image_pairs(rows.columns):
        named = rows[rows[key_column].isin(keys)]
        file_of |= dict(zip(named[key_column], named[file_column], strict=True))
    return file_of


def _read_rows(directory: RunDirectory, name: str, columns: Sequence[str] | None) -> pa.Table:
    parquet = _open_rows(directory, name)
    _refuse_other_schemas(parquet, name)
    if columns is None:
        return parquet.read()
    wanted = {column.split(".")[0] for column in columns}
    return parquet.read(columns=[column for column in parquet.schema_arrow.names if column in wanted])


def _open_rows(directory: RunDirectory, name: str) -> pq.ParquetFile:
    # In one request: a whole results file is smaller than the round trips of reading it piece by piece.
    content = pa.BufferReader(directory.files.read(f"results/{name}"))
    try:
        metadata = pq.read_metadata(content)
        # pyarrow refuses a name that the file does not have: not every sweep has every column.
        dictionary = [column for column in DICTIONARY_COLUMNS if column in metadata.schema.names]
        return pq.ParquetFile(content, metadata=metadata, read_dictionary=dictionary)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{directory.url}/results/{name} cannot be read: {error}") from error


def _refuse_empty(directory: RunDirectory, names: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"{directory.url} is empty: no shard has been committed to its results/ yet")


def _refuse_other_schemas(parquet: pq.ParquetFile, name: str) -> None:
    versions: set[int] = set()
    if "schema_version" in parquet.schema_arrow.names:
        versions = set(parquet.read(columns=["schema_version"])["schema_version"].to_pylist())
    if versions - {SCHEMA_VERSION} or "schema_version" not in parquet.schema_arrow.names:
        found = ", ".join(map(str, sorted(versions))) or "missing"
        raise ValueError(
            f"schema_version of results file {name!r} is {found}: this release reads {SCHEMA_VERSION}"
        )


def _refuse_unknown(columns: Sequence[str], found: Sequence[str], run: str | Path) -> None:
    for column in columns:
        if column not in found:
            raise ValueError(
                f"column {column!r} is not in the results: choose from {', '.join(column_names(run))}"
            )


def _refuse_missing(keys: Iterable[str], known: Iterable[str], where: str) -> None:
    known = set(known)
    missing = [key for key in keys if key not in known]
    if missing:
        others = f" (nor are {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise ValueError(f"image key {missing[0]!r} is not in {where}{others}")


def _flatten_judges(table: pa.Table) -> pa.Table:
    for struct in _JUDGE_STRUCTS:
        if struct in table.column_names:
            column = table[struct]
            for field, values in zip(column.type, column.flatten(), strict=True):
                table = table.append_column(f"{struct}.{field.name}", values)
    return table


def _read_images(directory: RunDirectory, name: str, keys: set[str]) -> dict[str, NDArray[np.uint8]]:
    parquet = _open_images(directory, name)
    found: dict[str, NDArray[np.uint8]] = {}
    for group in range(parquet.num_row_groups):
        # The keys are a few kilobytes beside the images of a row group.
        if keys.isdisjoint(parquet.read_row_group(group, columns=["key"])["key"].to_pylist()):
            continue
        table = parquet.read_row_group(group, columns=["key", "image.bytes"])
        for key, image in zip(table["key"], table["image"], strict=True):
            if key.as_py() in keys:
                found[key.as_py()] = _decode(key.as_py(), image["bytes"].as_py())
    _refuse_missing(sorted(keys), found, f"image file {name!r}")
    return found


def _open_images(directory: RunDirectory, name: str) -> pq.ParquetFile:
    path = f"images/{name}"
    try:
        return pq.ParquetFile(directory.files.open(path), pre_buffer=True)
    except FileNotFoundError as error:
        raise ValueError(f"{directory.url} has no file {path}, though its results name it") from error
    except pa.ArrowInvalid as error:
        raise ValueError(f"{directory.url}/{path} cannot be read: {error}") from error


def _decode(key: str, content: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(BytesIO(content)) as image:
            pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"image {key!r} cannot be decoded: {error}") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels
