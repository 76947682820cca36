"""Export of a run's images as WebDataset: tar files of `key.png` and `key.json`.

A key's JSON holds its row. If several rows name one image, it holds the values that they share, and a list with
the rest of each row.
"""

import hashlib
import io
import itertools
import json
import math
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.store.errors import explained
from sweeps.store.run_directory import RunDirectory, open_files, resolve_url

Row = dict[str, Any]
Sample = tuple[str, bytes, Row]  # key, PNG, facts


def export_webdataset(run: RunDirectory, output: str, *, shard_size: int = 1000) -> int:
    """Write the images that rows name to OUTPUT/000000.tar and so on, `shard_size` in each. Return their number.

    The same run gives the same bytes: images are sorted by shard id and row, and the tar files hold no times or
    owners. Raises ValueError if OUTPUT (a path or URL) already holds tar files, or if two images have one key.
    """
    url = resolve_url(output)
    files = open_files(url)
    with explained(url, "written"):
        if any(entry.path.endswith(".tar") and "/" not in entry.path for entry in files.list("")):
            raise ValueError(f"{url} holds tar files already; give an empty folder")
        samples, total = _samples(run), 0
        for index in itertools.count():
            content, num_images = _tar(itertools.islice(samples, shard_size))
            if not num_images:
                break
            files.put(f"{index:06d}.tar", content)
            total += num_images
        files.tidy()
    return total


def safe_key(key: str) -> str:
    """Return a file name for the key. A changed name ends in a digest of the original, to stay unique.

    WebDataset takes everything up to the first dot as the key, so dots are replaced too.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", key)[:150]
    return safe if safe == key else f"{safe}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _samples(run: RunDirectory) -> Iterator[Sample]:
    exported: set[str] = set()
    for path in sorted(entry.path for entry in run.results()):
        table = pq.read_table(pa.BufferReader(run.files.read(path)))
        rows_by_image: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in table.to_pylist():
            if row["image_file"] is not None:
                rows_by_image[row["image_file"], row["image_key"]].append(row)
        for file in sorted({file for file, _ in rows_by_image}):
            wanted = {key: rows for (name, key), rows in rows_by_image.items() if name == file}
            for key, png in _images(run, file, wanted):
                if key in exported:
                    raise ValueError(f"key {key!r} is in two image files; see `verify`")
                exported.add(key)
                yield key, png, _facts(wanted[key])


def _images(run: RunDirectory, file: str, wanted: dict[str, list[Row]]) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted images of a file in its own order, with one row group at a time in memory."""
    parquet = pq.ParquetFile(run.files.open(f"images/{file}"))
    missing = set(wanted)
    for group in range(parquet.num_row_groups):
        table = parquet.read_row_group(group, columns=["key", "image.bytes"])
        for key, image in zip(table["key"].to_pylist(), table["image"], strict=True):
            if key in wanted:
                missing.discard(key)
                yield key, image["bytes"].as_py()
    if missing:
        raise ValueError(f"images/{file} lacks {min(missing)!r}; see `verify`")


def _facts(rows: list[Row]) -> Row:
    first = rows[0]
    shared = {name: value for name, value in first.items() if all(row[name] == value for row in rows)}
    if len(rows) == 1:
        return first
    return shared | {"rows": [{name: row[name] for name in first if name not in shared} for row in rows]}


def _tar(samples: Iterable[Sample]) -> tuple[memoryview, int]:
    """Return the bytes of a tar file, and how many images it holds."""
    sink, count = io.BytesIO(), 0
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for count, (key, png, facts) in enumerate(samples, start=1):  # noqa: B007  the last count is returned
            _add(archive, f"{safe_key(key)}.png", png)
            _add(archive, f"{safe_key(key)}.json", json.dumps(_finite(facts), sort_keys=True).encode())
    return sink.getbuffer(), count


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, owner and mode are constants
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
