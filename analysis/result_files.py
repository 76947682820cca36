"""Results files of a run directory, read whole, and what they become: one table, one DataFrame."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import union_categoricals

from analysis.score_rows import AddedScores
from analysis.victim_rows import AddedVictims
from sweeps.schemas import DICTIONARY_COLUMNS, LATER_COLUMNS, SCHEMA_VERSION
from sweeps.schemas.axis_kinds import LATER_AXES, axis_kinds
from sweeps.store import RunDirectory
from sweeps.store.errors import explained

# Results files are small and a read waits for the disk or the network, not for the processor.
_NUM_RESULT_READERS = 16
# pandas takes some hundred bytes for a row that it groups.
_PORTION_ROWS = 500_000

JUDGE_STRUCTS = ("judge_top1", "judge_top5_hit")


def read_results(directory: RunDirectory, columns: Sequence[str] | None) -> pd.DataFrame:
    """Return every committed row, with these columns or all, in the order of the shard ids."""
    with explained(directory.url, "read"), ThreadPoolExecutor(_NUM_RESULT_READERS) as pool:
        names, added, later = (
            result_names(directory),
            added_columns(directory, columns),
            later_axes(directory),
        )
        own = added.needed(columns)
        tables = list(pool.map(lambda name: read_rows(directory, name, own, later), names))
        return added.beside(data_frame(_chosen(tables, own, directory)), columns)


def read_portions(directory: RunDirectory, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows of `read_results` in the same order, some at a time."""
    with explained(directory.url, "read"), ThreadPoolExecutor(_NUM_RESULT_READERS) as pool:
        names, later = iter(result_names(directory)), later_axes(directory)
        added = added_columns(directory, columns)
        own, waiting = added.needed(columns) or (), []
        # All at once, the pool would read ahead of its consumer without end.
        while window := list(islice(names, _NUM_RESULT_READERS)):
            waiting += pool.map(lambda name: read_rows(directory, name, own, later), window)
            if sum(map(len, waiting)) >= _PORTION_ROWS:
                table, waiting = _chosen(waiting, own, directory), []
                yield from (added.beside(data_frame(part), columns) for part in _slices(table))
        if waiting:
            table = _chosen(waiting, own, directory)
            yield from (added.beside(data_frame(part), columns) for part in _slices(table))


def column_names(directory: RunDirectory) -> list[str]:
    """Return the names of the columns that `read_results` gives, read from one of the shards."""
    with explained(directory.url, "read"):
        first = [entry.name for entry in islice(directory.results(), 1)]
        refuse_empty(directory, first)
        empty = open_rows(directory, first[0]).schema_arrow.empty_table()
        names: list[str] = flatten_judges(empty).column_names
        return list(dict.fromkeys([*names, *later_axes(directory), *added_columns(directory, None).columns]))


def added_columns(directory: RunDirectory, columns: Sequence[str] | None) -> AddedVictims | AddedScores:
    """Return what a table beside results/ adds to its rows."""
    victims = AddedVictims.of(directory, columns)
    return victims if victims.columns else AddedScores.of(directory, columns)


def later_axes(directory: RunDirectory) -> Mapping[str, str]:
    """Return the axes that results files may be too old to have as columns, with the value of their rows."""
    record = directory.read_sweep() or {}
    kinds = axis_kinds(record)
    recorded = {} if kinds is None else kinds.later
    return recorded or _before_axes(record)


def _before_axes(record: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the axes of a run directory that is older than `later` in sweep.json."""
    axes = LATER_AXES.get(str(record.get("sweep")), {})
    commands = [each.get("command", ()) for each in record.get("invocations", ())]
    if any("--weights=untrained" in words or "--weights untrained" in " ".join(words) for words in commands):
        return dict.fromkeys(axes, "untrained")
    return axes


def _chosen(tables: Sequence[pa.Table], columns: Sequence[str] | None, directory: RunDirectory) -> pa.Table:
    """Return the rows of several files, with these columns. Raises ValueError for an unknown column.

    A column that a later release added is null in rows that are older.
    """
    table = one_table(tables)
    for name in set(columns or ()) & LATER_COLUMNS.keys() - set(table.column_names):
        table = table.append_column(name, pa.nulls(len(table), LATER_COLUMNS[name]))
    for column in columns or ():
        if column not in table.column_names:
            accepted = ", ".join(column_names(directory))
            raise ValueError(f"column {column!r} is not in the results: choose from {accepted}")
    return table if columns is None else table.select(list(columns))


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    return (table.slice(start, _PORTION_ROWS) for start in range(0, len(table), _PORTION_ROWS))


def result_names(directory: RunDirectory) -> list[str]:
    """Return the names of the committed results files, sorted. Raises ValueError if there are none."""
    names = sorted(entry.name for entry in directory.results())
    refuse_empty(directory, names)
    return names


def one_table(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of several files; a judge's field of a struct column is a column too."""
    return flatten_judges(pa.concat_tables(tables, promote_options="permissive"))


def data_frame(table: pa.Table) -> pd.DataFrame:
    """Convert a table for pandas, with the categories of each column sorted."""
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas()
    for name in frame.columns[frame.dtypes == "category"]:
        # Grouping follows the order of the categories, which must not depend on which shard came first.
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    return frame


def read_rows(
    directory: RunDirectory,
    name: str,
    columns: Sequence[str] | None,
    later: Mapping[str, str] = MappingProxyType({}),
) -> pa.Table:
    """Read those of the columns that a results file has, and the `later` axes that it is too old to have.

    Raises ValueError for an unknown schema version.
    """
    parquet = open_rows(directory, name)
    refuse_other_schemas(parquet, name)
    names: list[str] = parquet.schema_arrow.names
    # A judge is a field of a struct, a victim has a dot in the column's own name.
    wanted = set(columns or ()) | {column.split(".")[0] for column in columns or ()}
    table = (
        parquet.read()
        if columns is None
        else parquet.read(columns=[each for each in names if each in wanted])
    )
    missing = {axis: value for axis, value in later.items() if axis not in names}
    return with_constants(
        table, {axis: value for axis, value in missing.items() if columns is None or axis in wanted}
    )


def with_constants(table: pa.Table, values: Mapping[str, str]) -> pa.Table:
    """Return the table with columns that have one value in all rows."""
    for name, value in values.items():
        places = pa.array(np.zeros(len(table), np.int32))
        table = table.append_column(name, pa.DictionaryArray.from_arrays(places, pa.array([value])))
    return table


def open_rows(directory: RunDirectory, name: str) -> pq.ParquetFile:
    """Open a results file, with text of few distinct values as dictionaries. ValueError if it is no Parquet."""
    # In one request: a whole results file is smaller than the round trips of reading it piece by piece.
    content = pa.BufferReader(directory.files.read(f"{directory.rows}/{name}"))
    try:
        metadata = pq.read_metadata(content)
        # pyarrow refuses a name that the file does not have: not every sweep has every column.
        dictionary = [column for column in DICTIONARY_COLUMNS if column in metadata.schema.names]
        return pq.ParquetFile(content, metadata=metadata, read_dictionary=dictionary)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{directory.url}/{directory.rows}/{name} cannot be read: {error}") from error


def refuse_empty(directory: RunDirectory, names: Sequence[str]) -> None:
    """Raise ValueError if a run has no results files."""
    if not names:
        raise ValueError(f"{directory.url} is empty: no shard has been committed to its results/ yet")


def refuse_other_schemas(parquet: pq.ParquetFile, name: str) -> None:
    """Raise ValueError if rows of a results file are of a schema version that this release does not read."""
    versions: set[int] = set()
    if "schema_version" in parquet.schema_arrow.names:
        versions = set(parquet.read(columns=["schema_version"])["schema_version"].to_pylist())
    if versions - {SCHEMA_VERSION} or "schema_version" not in parquet.schema_arrow.names:
        found = ", ".join(map(str, sorted(versions))) or "missing"
        raise ValueError(
            f"schema_version of results file {name!r} is {found}: this release reads {SCHEMA_VERSION}"
        )


def flatten_judges(table: pa.Table) -> pa.Table:
    """Return the table with a column `judge_top1.NAME` or `judge_top5_hit.NAME` for each judge."""
    for struct in JUDGE_STRUCTS:
        if struct in table.column_names:
            column = table[struct]
            for field, values in zip(column.type, column.flatten(), strict=True):
                table = table.append_column(f"{struct}.{field.name}", values)
    return table


def concat_rows(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate frames that have the same columns; a column has the categories of all of them, sorted."""
    frames = list(frames)
    columns = {}
    for name in frames[0].columns:
        parts = [frame[name] for frame in frames]
        if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            columns[name] = pd.Series(union_categoricals(_of_one_type(parts), sort_categories=True))
        else:
            columns[name] = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns)


def _of_one_type(parts: list[pd.Series]) -> list[pd.Series]:
    """Return the categorical columns; those without any value take the others' type of categories."""
    types = [part.cat.categories.dtype for part in parts if len(part.cat.categories)]
    nothing = pd.CategoricalDtype(pd.Index([], dtype=types[0] if types else "str"))
    return [part if len(part.cat.categories) else part.astype(nothing) for part in parts]
