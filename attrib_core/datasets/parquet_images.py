"""Encoded images in Parquet shards, in a folder or an object store."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from attrib_core.datasets.encoded_images import Content, EncodedImages
from attrib_core.datasets.parquet_columns import CHANNELS, ImageColumn
from attrib_core.datasets.unreadable import DamagedImageError
from attrib_core.errors import first_line

FAILURES = (OSError, pa.ArrowException)  # what reading raises, also for credentials and networks


class ColumnImages(EncodedImages):
    """Images in a column of tables, encoded or as arrays of one shape.

    They are turned as their EXIF orientation says, as Hugging Face `datasets` does, with which such tables are
    read elsewhere.
    """

    turns_images = True
    column: ImageColumn

    def open(self, content: bytes) -> Image.Image:
        shape = self.column.shape
        if shape is None:
            return super().open(content)
        pixels = np.frombuffer(content, np.uint8).reshape(shape)
        if len(shape) == 3 and shape[0] in CHANNELS and shape[2] not in CHANNELS:
            pixels = pixels.transpose(1, 2, 0)
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))

    def values(self, images: Any) -> Any:
        """Return a ChunkedArray of the bytes or the pixels in a column."""
        images = decoded(images)
        return decoded(pc.struct_field(images, "bytes")) if self.column.in_struct else images

    def bytes_of(self, values: Any) -> list[bytes | None]:
        """Return the bytes of each of such values; None where there are none, or pixels of another shape."""
        return values.to_pylist() if self.column.shape is None else _pixels(values, self.column.shape)

    def missing(self) -> str:
        """Return what an image without bytes is said to have."""
        if self.column.shape is not None:
            return f"null, or an array that is not of shape {list(self.column.shape)}"
        return "holds no bytes, only a path" if self.column.in_struct else "holds no bytes"


class ParquetImages(ColumnImages):
    """Images in R row groups: `places` are (shard, number), `first_rows` `[R]` the indices of the first rows.

    Keeps the last row group in memory, because consecutive batches usually read the same one.
    """

    def __init__(
        self,
        url: str,
        places: Sequence[tuple[str, int]],
        first_rows: NDArray[np.int64],
        column: ImageColumn,
    ) -> None:
        self.url, self.places, self.first_rows, self.column = url, places, first_rows, column
        self._last: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def contents(self, indices: Sequence[int], pool: Executor) -> Sequence[Content]:
        rows = np.asarray(indices, dtype=np.int64)
        groups = np.searchsorted(self.first_rows, rows, side="right") - 1
        contents: dict[int, Content] = {}
        for group in np.unique(groups).tolist():
            members = rows[groups == group]
            try:
                found = self._row_group(group).take(pa.array(members - self.first_rows[group]))
            except FAILURES as error:
                raise DamagedImageError(int(members[0]), f"{self.places[group][0]}: {error}") from error
            for row, value in zip(members.tolist(), self.bytes_of(found), strict=True):
                contents[row] = DamagedImageError(row, self.missing()) if value is None else value
        return [contents[row] for row in rows.tolist()]

    def _row_group(self, group: int) -> Any:
        """Return the bytes or the pixels of a row group's images as a ChunkedArray."""
        last = self._last
        if last is None or last[0] != group:
            path, number = self.places[group]
            with open_shard(open_url(self.url)[0], path) as shard:
                images = shard.read_row_group(number, columns=[self.column.path])[self.column.name]
            last = self._last = (group, self.values(images))
        return last[1]


def decoded(column: Any) -> Any:
    """Return a ChunkedArray's values in a type that all of pyarrow's functions know: no views, no dictionaries."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return decoded(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))
    if pa.types.is_dictionary(kind):
        return decoded(column.cast(kind.value_type))
    if pa.types.is_binary_view(kind):
        return column.cast(pa.large_binary())
    return column.cast(pa.large_string()) if pa.types.is_string_view(kind) else column


def _pixels(column: Any, shape: tuple[int, ...]) -> list[bytes | None]:
    """Return the pixels of arrays of this shape as bytes; None for an array of another one."""
    array = column.combine_chunks()
    pixels: list[bytes | None] = []
    for row in range(len(array)):
        values = array.slice(row, 1)
        for _ in shape:
            values = values.flatten()
        fits = len(values) == math.prod(shape) and not values.null_count
        pixels.append(np.asarray(values).tobytes() if fits else None)
    return pixels


def open_url(url: str) -> tuple[Any, str]:
    """Return pyarrow's file system for a URL or a local path, and the path in it.

    Credentials come from the environment. Raises ValueError for a URL that holds some, or that cannot be read.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return pafs.LocalFileSystem(), str(Path(url).expanduser().absolute())
    if "@" in rest.partition("/")[0]:
        # The URL is written into every row of a sweep, so credentials would leak.
        raise ValueError(f"{scheme}://...: credentials belong in the environment, not in the URL")
    try:
        filesystem, path = pafs.FileSystem.from_uri(url)
    except (*FAILURES, ImportError) as error:
        raise ValueError(f"{url}: accepted are paths, s3:// and gs:// ({first_line(error)})") from error
    return filesystem, path


@contextmanager
def open_shard(filesystem: Any, path: str) -> Iterator[Any]:
    """Open a `pyarrow.parquet.ParquetFile` and close its source too, which it does not do itself."""
    with filesystem.open_input_file(path) as source, pq.ParquetFile(source) as shard:
        yield shard


def num_rows(filesystem: Any, path: str) -> int:
    """Return the number of rows of a Parquet file, from its footer."""
    with open_shard(filesystem, path) as shard:
        return int(shard.metadata.num_rows)
