"""Results files of a run directory, read whole, and what they become: one table, one DataFrame."""

from collections.abc import Iterable, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import union_categoricals

from sweeps.schemas import DICTIONARY_COLUMNS, SCHEMA_VERSION
from sweeps.store import RunDirectory

_JUDGE_STRUCTS = ("judge_top1", "judge_top5_hit")


def result_names(directory: RunDirectory) -> list[str]:
    """The names of the committed results files, sorted. ValueError where there is none."""
    names = sorted(entry.name for entry in directory.results())
    refuse_empty(directory, names)
    return names


def one_table(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of several files; a judge's field of a struct column is a column too."""
    return flatten_judges(pa.concat_tables(tables, promote_options="permissive"))


def data_frame(table: pa.Table) -> pd.DataFrame:
    """The table as pandas has it, the categories of a column sorted."""
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas()
    for name in frame.columns[frame.dtypes == "category"]:
        # Grouping follows the order of the categories, which must not depend on which shard came first.
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    return frame


def read_rows(directory: RunDirectory, name: str, columns: Sequence[str] | None) -> pa.Table:
    """These columns of a results file, those that it has. ValueError for an unknown schema version."""
    parquet = open_rows(directory, name)
    _refuse_other_schemas(parquet, name)
    if columns is None:
        return parquet.read()
    wanted = {column.split(".")[0] for column in columns}
    return parquet.read(columns=[column for column in parquet.schema_arrow.names if column in wanted])


def open_rows(directory: RunDirectory, name: str) -> pq.ParquetFile:
    """A results file, text of few distinct values as dictionaries. ValueError where it is no Parquet file."""
    # In one request: a whole results file is smaller than the round trips of reading it piece by piece.
    content = pa.BufferReader(directory.files.read(f"results/{name}"))
    try:
        metadata = pq.read_metadata(content)
        # pyarrow refuses a name that the file does not have: not every sweep has every column.
        dictionary = [column for column in DICTIONARY_COLUMNS if column in metadata.schema.names]
        return pq.ParquetFile(content, metadata=metadata, read_dictionary=dictionary)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{directory.url}/results/{name} cannot be read: {error}") from error


def refuse_empty(directory: RunDirectory, names: Sequence[str]) -> None:
    """ValueError where a run has no results files."""
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


def flatten_judges(table: pa.Table) -> pa.Table:
    """The table with a column `judge_top1.NAME` or `judge_top5_hit.NAME` for each judge."""
    for struct in _JUDGE_STRUCTS:
        if struct in table.column_names:
            column = table[struct]
            for field, values in zip(column.type, column.flatten(), strict=True):
                table = table.append_column(f"{struct}.{field.name}", values)
    return table


def concat_rows(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of frames that have the same columns; the categories of all of them, sorted."""
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
    """The categorical columns; those without any value have got the others' type of categories."""
    types = [part.cat.categories.dtype for part in parts if len(part.cat.categories)]
    nothing = pd.CategoricalDtype(pd.Index([], dtype=types[0] if types else "str"))
    return [part if len(part.cat.categories) else part.astype(nothing) for part in parts]
