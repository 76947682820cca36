"""Checks of a run directory: every file opens, each key is there once, each image is there."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.schemas import IDENTITY, IMAGE_COLUMNS, SCHEMA_VERSION
from sweeps.schemas.axis_kinds import LATER_AXES, axis_kinds, identity_columns
from sweeps.store.files import Entry
from sweeps.store.maintenance import map_in_threads, side_tables, unusable_images
from sweeps.store.run_directory import RunDirectory

_OF_IMAGES = ("image_file", "image_key")
_COMMON = ("sweep", "shard_id", "schema_version", *_OF_IMAGES)


@dataclass
class Verification:
    """The findings. Orphan images are no problem: `gc` deletes them. Nor are failures: a resume retries them.

    `unusable_images` of the data set have no rows: see `image_failures`.
    """

    num_committed: int = 0
    num_rows: int = 0
    num_images: int = 0
    num_orphan_images: int = 0
    failures: list[str] = field(default_factory=list)
    unusable_images: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    beside: dict[str, tuple[int, int]] = field(default_factory=dict)  # shards and rows by side table


@dataclass
class _Checked:
    """One results file: digests of its rows' identities, and the number of its images by file."""

    name: str
    digests: list[bytes] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def verify(run: RunDirectory) -> Verification:
    """Read all results and the keys of all images, file by file. Only a digest of each row stays in memory."""
    unusable = unusable_images(run)
    found = Verification(
        failures=sorted(run.failures()), unusable_images=[failure.describe() for failure in unusable]
    )
    sizes = {entry.name: entry.size for entry in run.images()}
    orphans = set(sizes)
    first_seen: dict[bytes, int] = {}
    names: list[str] = []
    for checked in map_in_threads(partial(_check, run, sizes), run.results()):
        found.problems += checked.problems
        found.problems += _repeated(checked, first_seen, names)
        found.num_committed += 1
        found.num_rows += len(checked.digests)
        found.num_images += sum(checked.keys.values())
        orphans -= checked.keys.keys()
    found.num_orphan_images = len(orphans)
    for table, kinds in side_tables(run):
        _verify_beside(found, table, identity_columns(kinds))
    return found


def _verify_beside(found: Verification, table: RunDirectory, identity: tuple[str, ...]) -> None:
    """Check the files of a table beside results/, whose rows name no images."""
    first_seen: dict[bytes, int] = {}
    names: list[str] = []
    shards = rows = 0
    for checked in map_in_threads(partial(_check, table, {}, identity=identity), table.results()):
        found.problems += checked.problems
        found.problems += _repeated(checked, first_seen, names)
        shards, rows = shards + 1, rows + len(checked.digests)
    found.beside[table.rows] = shards, rows


def _repeated(checked: _Checked, first_seen: dict[bytes, int], names: list[str]) -> list[str]:
    """Return a line for each earlier file whose keys this one repeats; add its keys to `first_seen`."""
    repeated: dict[str, int] = defaultdict(int)
    names.append(checked.name)
    for digest in checked.digests:
        index = first_seen.setdefault(digest, len(names) - 1)
        if index != len(names) - 1:
            repeated[names[index]] += 1
    within = len(checked.digests) - len(set(checked.digests))
    lines = [f"{checked.name}: {count} keys are in {other} too" for other, count in repeated.items()]
    return [*lines, f"{checked.name}: {within} keys are repeated in it"] if within else lines


def _check(
    run: RunDirectory, sizes: dict[str, int], entry: Entry, identity: tuple[str, ...] | None = None
) -> _Checked:
    """Check all about one results file that needs no other one. `identity`: of a table beside results/."""
    checked = _Checked(entry.name if identity is None else f"{run.rows}/{entry.name}")
    common = _COMMON if identity is None else tuple(each for each in _COMMON if each not in _OF_IMAGES)
    try:
        content = pa.BufferReader(run.files.read(entry.path))
        parquet = pq.ParquetFile(content, page_checksum_verification=True)
        if missing := set(common) - set(parquet.schema_arrow.names):
            checked.problems.append(f"{entry.name}: columns are missing: {', '.join(sorted(missing))}")
            return checked
        table = parquet.read()
    except (pa.ArrowException, OSError) as error:
        checked.problems.append(f"{entry.name} cannot be read: {error}")
        return checked
    _check_common(checked, table, entry.name.removesuffix(".parquet"))
    _check_identities(run, checked, table, identity)
    _check_images(run, sizes, checked, table)
    return checked


def _check_common(checked: _Checked, table: pa.Table, shard_id: str) -> None:
    versions = set(table["schema_version"].unique().to_pylist())
    if versions - {SCHEMA_VERSION}:
        checked.problems.append(
            f"{checked.name}: schema_version {versions}, this version reads {SCHEMA_VERSION}"
        )
    shard_ids = table["shard_id"].unique().to_pylist()
    if shard_ids not in ([], [shard_id]):
        checked.problems.append(f"{checked.name}: its rows are of shard {', '.join(map(repr, shard_ids))}")


def _check_identities(
    run: RunDirectory, checked: _Checked, table: pa.Table, identity: tuple[str, ...] | None
) -> None:
    sweeps = table["sweep"].unique().to_pylist()
    if len(table) == 0:
        return
    columns = identity or IDENTITY.get(sweeps[0]) or _recorded_identity(run, sweeps[0])
    later = LATER_AXES.get(sweeps[0], {})
    known = {*table.column_names, *later}
    if len(sweeps) > 1 or columns is None or not set(columns) <= known:
        checked.problems.append(
            f"{checked.name}: sweep {', '.join(map(repr, sweeps))} is not one whose "
            f"identity columns are known: {', '.join(IDENTITY)}"
        )
        return
    found = set(table.column_names)
    values = (
        table[column].to_pylist() if column in found else [later[column]] * len(table) for column in columns
    )
    keys = zip(*values, strict=True)
    checked.digests = [hashlib.blake2b(repr(key).encode(), digest_size=12).digest() for key in keys]


def _recorded_identity(run: RunDirectory, sweep: str) -> tuple[str, ...] | None:
    """Return the identity columns of a sweep that is not in the table, from the axes in its own sweep.json."""
    record = run.read_sweep() or {}
    kinds = axis_kinds(record) if record.get("sweep") == sweep else None
    return None if kinds is None else identity_columns(kinds)


def _check_images(run: RunDirectory, sizes: dict[str, int], checked: _Checked, table: pa.Table) -> None:
    keys_by_file: dict[str, set[str]] = defaultdict(set)
    for column in IMAGE_COLUMNS:
        for file, key in _named_images(checked, table, f"{column}_file", f"{column}_key"):
            keys_by_file[file].add(key)
    for file, wanted in keys_by_file.items():
        checked.keys[file] = len(wanted)
        checked.problems += _missing_images(run, sizes.get(file), file, wanted)


def _named_images(
    checked: _Checked, table: pa.Table, file_column: str, key_column: str
) -> Iterator[tuple[str, str]]:
    """Yield file and key of each image that a pair of columns names; report a name of which half is missing."""
    present = {file_column, key_column} & set(table.column_names)
    if len(present) == 1:
        checked.problems.append(
            f"{checked.name}: of {file_column} and {key_column} it has {present.pop()} alone"
        )
    if len(present) < 2:
        return
    # Take each pair once: all rows of an image, one for each ε, name the same perturbation.
    pairs = table.select([file_column, key_column]).group_by([file_column, key_column]).aggregate([])
    for file, key in zip(pairs[file_column].to_pylist(), pairs[key_column].to_pylist(), strict=True):
        if (file is None) != (key is None):
            checked.problems.append(
                f"{checked.name}: a row has {file_column} {file!r} but {key_column} {key!r}"
            )
        elif file is not None:
            yield file, key


def _missing_images(run: RunDirectory, size: int | None, file: str, wanted: set[str]) -> list[str]:
    try:
        # The listing may lack a file that was committed since; `size` is then None, and the file is asked for.
        parquet = pq.ParquetFile(run.files.open(f"images/{file}", size))
        keys = parquet.read(columns=["key"])["key"].to_pylist()
    except FileNotFoundError:
        return [f"images/{file} is missing, and {len(wanted)} images with it"]
    except (
        pa.ArrowException,
        OSError,
        KeyError,
        ValueError,
    ) as error:  # ValueError: a name that leaves the folder
        return [f"images/{file} cannot be read: {error}"]
    missing = sorted(wanted - set(keys))
    problems = [f"images/{file} lacks {len(missing)} images, the first is {missing[0]!r}"] if missing else []
    repeated = len(keys) - len(set(keys))
    return [*problems, f"images/{file} repeats {repeated} keys"] if repeated else problems
