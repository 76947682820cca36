"""Images of a run directory: which file holds a key, and the PNG files that are read from it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from sweeps.schemas import IMAGE_COLUMNS
from sweeps.store import RunDirectory
from sweeps.store.errors import explained

T = TypeVar("T")

# A row group of images may hold 100 MB.
_NUM_IMAGE_READERS = 4


def read_images(
    directory: RunDirectory, keys: Sequence[str], rows: pd.DataFrame, decode: Callable[[str, bytes], T]
) -> list[T]:
    """Return `decode(key, png)` of each key, in the order of the keys.

    `rows` name the keys and their files. Only the image files and row groups that hold a key are read. Raises
    ValueError for a key that no row or no image file has.
    """
    file_of = _files_of(keys, rows)
    _refuse_missing(keys, file_of, f"the results of {directory.url}")
    keys_of: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        keys_of[file_of[key]].add(key)
    with explained(directory.url, "read"), ThreadPoolExecutor(_NUM_IMAGE_READERS) as pool:
        parts = list(pool.map(lambda name: _read_file(directory, name, keys_of[name], decode), keys_of))
    found = {key: image for part in parts for key, image in part.items()}
    return [found[key] for key in keys]


def image_columns(columns: Iterable[str]) -> list[tuple[str, str]]:
    """Return the columns of image keys among these, each with the column of the files that hold them."""
    known = set(columns)
    pairs = [(f"{column}_key", f"{column}_file") for column in IMAGE_COLUMNS]
    return [pair for pair in pairs if known.issuperset(pair)]


def open_images(directory: RunDirectory, name: str) -> pq.ParquetFile:
    """Open an image file of a run directory; only the parts that are asked for are fetched."""
    path = f"images/{name}"
    try:
        return pq.ParquetFile(directory.files.open(path), pre_buffer=True)
    except FileNotFoundError as error:
        raise ValueError(f"{directory.url} has no file {path}, though its results name it") from error
    except pa.ArrowInvalid as error:
        raise ValueError(f"{directory.url}/{path} cannot be read: {error}") from error


def decode_png(key: str, content: bytes) -> NDArray[np.uint8]:
    """Return the image `[H, W, C]` of a stored PNG. Raises a ValueError that names the key if it is not one."""
    try:
        # Sweeps store PNG and no other format. PIL would hand some of the others to other programs.
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {key!r} cannot be decoded: {error}") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _files_of(keys: Sequence[str], rows: pd.DataFrame) -> dict[str, str]:
    """Return the image file of each key that the rows name."""
    file_of: dict[str, str] = {}
    for key_column, file_column in image_columns(rows.columns):
        named = rows[rows[key_column].isin(keys)]
        file_of |= dict(zip(named[key_column], named[file_column], strict=True))
    return file_of


def _refuse_missing(keys: Iterable[str], known: Iterable[str], where: str) -> None:
    known = set(known)
    missing = [key for key in keys if key not in known]
    if missing:
        others = f" (nor are {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise ValueError(f"image key {missing[0]!r} is not in {where}{others}")


def _read_file(
    directory: RunDirectory, name: str, keys: set[str], decode: Callable[[str, bytes], T]
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
                found[key.as_py()] = decode(key.as_py(), image["bytes"].as_py())
    _refuse_missing(sorted(keys), found, f"image file {name!r}")
    return found
