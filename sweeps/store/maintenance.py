"""Maintenance of a run directory: its status, and the removal of files that dead attempts left."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.schemas import IMAGE_COLUMNS
from sweeps.schemas.axis_kinds import AxisKinds, kinds_of_record
from sweeps.store.files import Entry
from sweeps.store.image_failures import ImageFailure, is_planned, unresolved
from sweeps.store.run_directory import RunDirectory

# Reading a footer waits for the disk or the network, so many threads help.
_NUM_READERS = 32

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Status:
    """The progress of a run directory. Unreadable results files count in `result_bytes`, not in `num_rows`.

    `num_committed` counts the plan's shards; those that tried failed images again count in `num_tried_again`.
    """

    sweep: dict[str, Any]
    num_committed: int
    num_tried_again: int
    num_rows: int
    num_unreadable: int
    result_bytes: int
    num_image_files: int
    image_bytes: int
    failures: dict[str, dict[str, Any]]
    unusable_images: tuple[ImageFailure, ...]  # by index
    progress: dict[str, Any] | None
    succeeded: bool
    beside: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # shards and rows by side table


@dataclass
class Garbage:
    """Files that no row needs, and the number of those that are too young to delete."""

    files: list[Entry] = field(default_factory=list)
    num_too_young: int = 0

    @property
    def bytes(self) -> int:
        """Total size of the files."""
        return sum(entry.size for entry in self.files)


def open_run(url: str) -> RunDirectory:
    """Return an existing run directory. Raise ValueError if it has no sweep.json."""
    run = RunDirectory(url)
    if run.read_sweep() is None:
        raise ValueError(
            f"{run.url} is not a run directory: it has no sweep.json; give the --output of a sweep"
        )
    return run


def status(run: RunDirectory) -> Status:
    """Count what is committed, from listings and the files' footers."""
    committed = num_tried_again = num_rows = num_unreadable = result_bytes = 0
    for entry, rows in map_in_threads(lambda entry: (entry, _num_rows(run, entry)), run.results()):
        is_of_plan = is_planned(entry.name.removesuffix(".parquet"))
        committed += is_of_plan
        num_tried_again += not is_of_plan
        result_bytes += entry.size
        num_rows += rows or 0
        num_unreadable += rows is None
    image_sizes = [entry.size for entry in run.images()]
    return Status(
        sweep=run.read_sweep() or {},
        num_committed=committed,
        num_tried_again=num_tried_again,
        num_rows=num_rows,
        num_unreadable=num_unreadable,
        result_bytes=result_bytes,
        num_image_files=len(image_sizes),
        image_bytes=sum(image_sizes),
        failures=run.failures(),
        unusable_images=unusable_images(run),
        progress=run.read_progress(),
        succeeded=run.succeeded(),
        beside={table.rows: _count(table) for table, _ in side_tables(run)},
    )


def side_tables(run: RunDirectory) -> Iterator[tuple[RunDirectory, AxisKinds]]:
    """Yield the tables beside results/, each as a run directory of its own, with their axes."""
    for folder, entry in ((run.read_sweep() or {}).get("beside") or {}).items():
        yield run.beside(folder), kinds_of_record(entry["axis_kinds"])


def _count(table: RunDirectory) -> tuple[int, int]:
    """Return the numbers of planned shards and of rows in a table beside results/."""
    shards = rows = 0
    for entry in table.results():
        shards += is_planned(entry.name.removesuffix(".parquet"))
        rows += _num_rows(table, entry) or 0
    return shards, rows


def unusable_images(run: RunDirectory) -> tuple[ImageFailure, ...]:
    """Return the images of the data set that some shard has no rows of, because they could not be used."""
    failed = run.failed_images()
    waiting = unresolved(failed, frozenset(run.committed())) if failed else {}
    by_index = {failure.image_index: failure for failures in waiting.values() for failure in failures}
    return tuple(by_index[index] for index in sorted(by_index))


def collect_garbage(run: RunDirectory, *, older_than: timedelta, dry_run: bool = False) -> Garbage:
    """Delete images that no row names, and what dead writers left in the staging folder. Return these files.

    Files younger than `older_than` stay, because a running attempt has written its images before its rows.
    Raises ValueError if a results file cannot be read, because it might name any image.
    """
    # List the images before the results. Then an attempt that commits in between is not taken for a dead one.
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
    """Apply a function in parallel threads and yield in order, at most a bounded number of items ahead."""
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
        # Every sweep has this column; a file without it is no results file of a sweep.
        named = set(table["image_file"].unique().to_pylist())
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(
            f"{run.url}/{entry.path} cannot be read: {error}; nothing was deleted; see `verify`"
        ) from error
    # The other columns exist only in sweeps that store such images.
    for column in table.columns:
        named.update(column.unique().to_pylist())
    return named - {None}


def _num_rows(run: RunDirectory, entry: Entry) -> int | None:
    try:
        rows: int = pq.read_metadata(run.files.open(entry.path, entry.size)).num_rows
    except (pa.ArrowException, OSError):
        return None
    return rows
