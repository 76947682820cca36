"""Encoded images in Parquet shards, in a folder or an object store."""

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

from attrib_core.datasets.dataset import DamagedImageError
from attrib_core.datasets.encoded_images import EncodedImages

FAILURES = (OSError, pa.ArrowException)  # what reading raises, also for credentials and networks


class ParquetImages(EncodedImages):
    """Images in R row groups: `places` are (shard, number), `first_rows` `[R]` the indices of the first rows.

    Keeps the last row group in memory, because consecutive batches usually read the same one.
    """

    def __init__(self, url: str, places: Sequence[tuple[str, int]], first_rows: NDArray[np.int64]) -> None:
        self.url, self.places, self.first_rows = url, places, first_rows
        self._last: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def contents(self, indices: Sequence[int], pool: Executor) -> Sequence[bytes]:
        rows = np.asarray(indices, dtype=np.int64)
        groups = np.searchsorted(self.first_rows, rows, side="right") - 1
        contents: dict[int, bytes] = {}
        for group in np.unique(groups).tolist():
            members = rows[groups == group]
            try:
                found = self._row_group(group).take(pa.array(members - self.first_rows[group])).to_pylist()
            except FAILURES as error:
                raise DamagedImageError(int(members[0]), f"{self.places[group][0]}: {error}") from error
            contents.update(zip(members.tolist(), found, strict=True))
        if missing := [row for row, content in contents.items() if content is None]:
            raise DamagedImageError(missing[0], "holds no bytes, only a path")
        return [contents[row] for row in rows.tolist()]

    def _row_group(self, group: int) -> Any:
        """Return the bytes of a row group's images as a ChunkedArray."""
        last = self._last
        if last is None or last[0] != group:
            path, number = self.places[group]
            with open_shard(open_url(self.url)[0], path) as shard:
                images = shard.read_row_group(number, columns=["image.bytes"])["image"]
            last = self._last = (group, pc.struct_field(images, "bytes"))
        return last[1]


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
    except FAILURES as error:
        raise ValueError(f"{url}: accepted are paths, s3:// and gs:// ({error})") from error
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
