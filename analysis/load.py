"""Committed results and images of a run directory, on a local disk or in an object store."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from analysis.result_files import (
    data_frame,
    flatten_judges,
    one_table,
    open_rows,
    read_rows,
    refuse_empty,
    result_names,
)
from sweeps.schemas import IMAGE_COLUMNS
from sweeps.store import RunDirectory
from sweeps.store.errors import explained
from sweeps.store.maintenance import open_run

T = TypeVar("T")

# Results files are small and a read waits for the disk or the network, not for the processor.
_NUM_RESULT_READERS = 16
# pandas takes some hundred bytes for a row that it groups.
_PORTION_ROWS = 500_000
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
        names = result_names(directory)
        tables = list(pool.map(lambda name: read_rows(directory, name, columns), names))
    return data_frame(_chosen(tables, columns, run))


def result_portions(run: str | Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The rows of `results` in the same order, some at a time, so that memory stays bounded.

    Categories are those of a portion; `concat_rows` unites them. Raises ValueError as `results` does.
    """
    directory = open_run(str(run))
    with explained(directory.url, "read"), ThreadPoolExecutor(_NUM_RESULT_READERS) as pool:
        names, waiting = iter(result_names(directory)), []
        # All at once, the pool would read ahead of its consumer without end.
        while window := list(islice(names, _NUM_RESULT_READERS)):
            waiting += pool.map(lambda name: read_rows(directory, name, columns), window)
            if sum(map(len, waiting)) >= _PORTION_ROWS:
                table, waiting = _chosen(waiting, columns, run), []
                yield from (data_frame(part) for part in _slices(table))
        if waiting:
            yield from (data_frame(part) for part in _slices(_chosen(waiting, columns, run)))


def _chosen(tables: Sequence[pa.Table], columns: Sequence[str] | None, run: str | Path) -> pa.Table:
    """The rows of several files, with these columns."""
    table = one_table(tables)
    for column in columns or ():
        if column not in table.column_names:
            raise ValueError(
                f"column {column!r} is not in the results: choose from {', '.join(column_names(run))}"
            )
    return table if columns is None else table.select(list(columns))


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    return (table.slice(start, _PORTION_ROWS) for start in range(0, len(table), _PORTION_ROWS))


def column_names(run: str | Path) -> list[str]:
    """Names of the columns that `results` gives for this run, read from one of its shards."""
    directory = open_run(str(run))
    with explained(directory.url, "read"):
        first = [entry.name for entry in islice(directory.results(), 1)]
        refuse_empty(directory, first)
        empty = open_rows(directory, first[0]).schema_arrow.empty_table()
    names: list[str] = flatten_judges(empty).column_names
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
    return _stored_images(run, keys, rows, decode_png)


def encoded_images(run: str | Path, keys: Iterable[str], *, rows: pd.DataFrame | None = None) -> list[bytes]:
    """The images as they are stored, PNG files each, otherwise as `images` gives them."""
    return _stored_images(run, keys, rows, lambda key, content: content)


def _stored_images(
    run: str | Path, keys: Iterable[str], rows: pd.DataFrame | None, read: Callable[[str, bytes], T]
) -> list[T]:
    """What `read` makes of each key and the PNG file that is stored for it."""
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
        parts = list(pool.map(lambda name: _read_images(directory, name, keys_of[name], read), keys_of))
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


def _refuse_missing(keys: Iterable[str], known: Iterable[str], where: str) -> None:
    known = set(known)
    missing = [key for key in keys if key not in known]
    if missing:
        others = f" (nor are {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise ValueError(f"image key {missing[0]!r} is not in {where}{others}")


def _read_images(
    directory: RunDirectory, name: str, keys: set[str], read: Callable[[str, bytes], T]
) -> dict[str, T]:
    parquet = open_images(directory, name)
    found: dict[str, T] = {}
    for group in range(parquet.num_row_groups):
        # The keys are a few kilobytes beside the images of a row group.
        if keys.isdisjoint(parquet.read_row_group(group, columns=["key"])["key"].to_pylist()):
            continue
        table = parquet.read_row_group(group, columns=["key", "image.bytes"])
        for key, image in zip(table["key"], table["image"], strict=True):
            if key.as_py() in keys:
                found[key.as_py()] = read(key.as_py(), image["bytes"].as_py())
    _refuse_missing(sorted(keys), found, f"image file {name!r}")
    return found


def open_images(directory: RunDirectory, name: str) -> pq.ParquetFile:
    """An image file of a run directory, of which only what is asked for is fetched."""
    path = f"images/{name}"
    try:
        return pq.ParquetFile(directory.files.open(path), pre_buffer=True)
    except FileNotFoundError as error:
        raise ValueError(f"{directory.url} has no file {path}, though its results name it") from error
    except pa.ArrowInvalid as error:
        raise ValueError(f"{directory.url}/{path} cannot be read: {error}") from error


def decode_png(key: str, content: bytes) -> NDArray[np.uint8]:
    """The image `[H, W, C]` of a stored PNG. ValueError that names the key where it is none."""
    try:
        # What a sweep stores, and no other format: PIL would hand some to other programs.
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {key!r} cannot be decoded: {error}") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels
