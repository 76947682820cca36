"""What an owner of a run directory does between runs: see how far it is, clear what dead attempts left."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.schemas import IMAGE_COLUMNS
from sweeps.store.files import Entry
from sweeps.store.run_directory import RunDirectory

# Reading a footer waits for the disk or the network, not for the processor.
_NUM_READERS = 32

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a run directory is. `num_unreadable` results files count in bytes, not in rows."""

    sweep: dict[str, Any]
    num_committed: int
    num_rows: int
    num_unreadable: int
    result_bytes: int
    num_image_files: int
    image_bytes: int
    failures: dict[str, dict[str, Any]]
    progress: dict[str, Any] | None
    succeeded: bool


@dataclass
class Garbage:
    """What no row needs: files (paths and sizes), and how many were left alone because they are young."""

    files: list[Entry] = field(default_factory=list)
    num_too_young: int = 0

    @property
    def bytes(self) -> int:
        """Their size together."""
        return sum(entry.size for entry in self.files)


def open_run(url: str) -> RunDirectory:
    """A run directory that is there: ValueError where there is no sweep.json."""
    run = RunDirectory(url)
    if run.read_sweep() is None:
        raise ValueError(
            f"{run.url} is not a run directory: it has no sweep.json; give the --output of a sweep"
        )
    return run


def status(run: RunDirectory) -> Status:
    """Counts what is committed, from listings and the files' footers."""
    committed = num_rows = num_unreadable = result_bytes = 0
    for entry, rows in map_in_threads(lambda entry: (entry, _num_rows(run, entry)), run.results()):
        committed += 1
        result_bytes += entry.size
        num_rows += rows or 0
        num_unreadable += rows is None
    image_sizes = [entry.size for entry in run.images()]
    return Status(
        sweep=run.read_sweep() or {},
        num_committed=committed,
        num_rows=num_rows,
        num_unreadable=num_unreadable,
        result_bytes=result_bytes,
        num_image_files=len(image_sizes),
        image_bytes=sum(image_sizes),
        failures=run.failures(),
        progress=run.read_progress(),
        succeeded=run.succeeded(),
    )


def collect_garbage(run: RunDirectory, *, older_than: timedelta, dry_run: bool = False) -> Garbage:
    """Deletes images that no row names and what dead writers left in the staging folder; returns them.

    Files younger than `older_than` stay: an attempt that is under way has written its images and not yet its
    rows. ValueError when a results file cannot be read, since it might name any image.
    """
    # Images before results: an attempt that commits in between is not taken for a dead one.
    candidates = list(run.images())
    named = _named_images(run)
    garbage = Garbage()
    latest = datetime.now(UTC) - older_than
    for entry in [*(image for image in candidates if image.name not in named), *run.files.staged()]:
        if entry.modified > latest:
            garbage.num_too_young += 1
            continue
        if not dry_run:
            run.files.delete(entry.path)
        garbage.files.append(entry)
    return garbage


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` with requests in parallel, in order; runs ahead of its reader by a bounded number of items."""
    iterator = iter(items)
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        while batch := list(islice(iterator, 4 * _NUM_READERS)):
            yield from pool.map(function, batch)


def _named_images(run: RunDirectory) -> set[str]:
    named: set[str] = set()
    for names in map_in_threads(lambda entry: _image_files(run, entry), run.results()):
        named |= names
    return named


def _image_files(run: RunDirectory, entry: Entry) -> set[str]:
    try:
        parquet = pq.ParquetFile(run.files.open(entry.path, entry.size))
        table = parquet.read(columns=[f"{column}_file" for column in IMAGE_COLUMNS])
        # Every sweep has this one: without it, the file is none of a sweep's.
        named = set(table["image_file"].unique().to_pylist())
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(
            f"{run.url}/{entry.path} cannot be read: {error}; nothing was deleted; see `verify`"
        ) from error
    # Only the sweeps that store such images have the other columns.
    for column in table.columns:
        named.update(column.unique().to_pylist())
    return named - {None}


def _num_rows(run: RunDirectory, entry: Entry) -> int | None:
    try:
        rows: int = pq.read_metadata(run.files.open(entry.path, entry.size)).num_rows
    except (pa.ArrowException, OSError):
        return None
    return rows
