"""Columns to Arrow tables to the bytes of Parquet files, strictly: what a schema does not say is refused."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeps.schemas import DICTIONARY_COLUMNS

# Hugging Face's and Ray's readers hold a row group in memory at once.
MAX_ROW_GROUP_BYTES = 100_000_000

_IMAGE_BYTES = "image.bytes"


def columns_table(columns: Mapping[str, Any], schema: pa.Schema, num_rows: int) -> pa.Table:
    """Return a table of this schema from whole columns: arrays, lists, or one value for all rows.

    Raises ValueError for a column that is missing, unknown, of another length, or whose values the schema's type
    cannot hold as they are. In lists also for a key of a struct that is missing or unknown, and for a null or a
    fraction where the schema allows none: pyarrow itself drops unknown keys, fills missing ones with nulls, cuts
    1.5 to 1 for an integer, and writes a null in a required struct as zeros, all silently.
    """
    _refuse_other_keys("columns", columns, schema)
    arrays = [_column(columns[field.name], field, num_rows) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def rows_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return `columns_table` of the same content row by row; ValueError also for a row of other keys."""
    for index, row in enumerate(rows):
        _refuse_other_keys(f"row {index}", row, schema)
    return columns_table({name: [row[name] for row in rows] for name in schema.names}, schema, len(rows))


def results_bytes(rows: pa.Table) -> memoryview:
    """Return a results file. Two files never have the same bytes: the metadata holds a random token."""
    metadata = (rows.schema.metadata or {}) | {b"attrib_sweeps.commit": secrets.token_hex(8).encode()}
    return _parquet_bytes(rows.replace_schema_metadata(metadata), [rows], compression="zstd")


def images_bytes(images: pa.Table) -> memoryview:
    """Return an images file: PNG as it is, the rest under zstd, row groups of at most 100 MB."""
    paths = _leaf_paths(images.schema)
    compression = {path: "none" if path == _IMAGE_BYTES else "zstd" for path in paths}
    # The smallest and the largest PNG of a group are of no use to a reader.
    statistics = [path for path in paths if path != _IMAGE_BYTES]
    return _parquet_bytes(images, _row_groups(images), compression=compression, write_statistics=statistics)


def _parquet_bytes(table: pa.Table, groups: Sequence[pa.Table], **options: Any) -> memoryview:
    _refuse_nulls(table)
    sink = pa.BufferOutputStream()
    dictionary = [name for name in DICTIONARY_COLUMNS if name in table.schema.names]
    with pq.ParquetWriter(
        sink, table.schema, use_dictionary=dictionary, write_page_checksum=True, **options
    ) as writer:
        for group in groups:
            writer.write_table(
                group.replace_schema_metadata(table.schema.metadata), row_group_size=len(group) or None
            )
    return memoryview(sink.getvalue()).cast("B")


def _row_groups(images: pa.Table) -> list[pa.Table]:
    """Cut the rows where the next one would pass the limit; a row that is larger alone gets its own group."""
    groups, start, group_bytes = [], 0, 0
    for row, size in enumerate(_row_sizes(images)):
        if row > start and group_bytes + size > MAX_ROW_GROUP_BYTES:
            groups.append(images.slice(start, row - start))
            start, group_bytes = row, 0
        group_bytes += size
    return [*groups, images.slice(start)]


def _row_sizes(images: pa.Table) -> Iterator[int]:
    image_sizes = pc.fill_null(pc.binary_length(pc.struct_field(images["image"], "bytes")), 0).to_pylist()
    others = images.drop_columns(["image"]).nbytes // max(1, len(images)) + 1
    return (size + others for size in image_sizes)


def _leaf_paths(schema: pa.Schema) -> list[str]:
    """Return the columns as Parquet names them: `image.bytes`, `logits.list.element`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    parquet = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [parquet.column(index).path for index in range(len(parquet))]


def _column(values: Any, field: pa.Field, num_rows: int) -> pa.Array:
    if values is None or isinstance(values, str | bool | int | float):
        values = [values] * num_rows if values is None else pa.repeat(values, num_rows)
    elif len(values) != num_rows:
        raise ValueError(f"column {field.name!r}: {len(values)} values for {num_rows} rows")
    try:
        if isinstance(values, list):
            for index, value in enumerate(values):
                _refuse_other_value(f"column {field.name!r}, row {index}", value, field)
            return pa.array(values, type=field.type)
        array = values if isinstance(values, pa.Array) else pa.array(values)
        return array if array.type == field.type else array.cast(field.type)  # refuses a cast that loses
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise ValueError(f"column {field.name!r} ({field.type}): {error}") from error


def _refuse_other_keys(where: str, values: Mapping[str, Any], fields: Any) -> None:
    """Raise ValueError for a key too many or too few. `fields`: a schema or a struct type."""
    names = {field.name for field in fields}
    for key in values.keys() - names:
        raise ValueError(f"{where}: unknown key {key!r}; known: {', '.join(sorted(names))}")
    for name in names - values.keys():
        raise ValueError(f"{where}: key {name!r} is missing")


def _refuse_other_value(where: str, value: Any, field: pa.Field) -> None:
    if value is None:
        if not field.nullable:
            raise ValueError(f"{where}: null, where the schema allows none")
    elif pa.types.is_struct(field.type):
        _refuse_other_keys(where, value, field.type)
        for part in field.type:
            _refuse_other_value(f"{where}, {part.name!r}", value[part.name], part)
    elif pa.types.is_integer(field.type):
        _refuse_fractions(where, [value])
    elif pa.types.is_nested(field.type) and pa.types.is_integer(field.type.value_type):
        _refuse_fractions(where, value)


def _refuse_fractions(where: str, values: Iterable[Any]) -> None:
    for value in values:
        if value is not None and not hasattr(value, "__index__"):
            raise ValueError(f"{where}: {value!r} is not an integer")


def _refuse_nulls(table: pa.Table) -> None:
    """Raise ValueError for nulls that arrays may have brought along, and for tables made elsewhere."""
    for field, column in zip(table.schema, table.columns, strict=True):
        if not field.nullable and column.null_count:
            raise ValueError(
                f"column {field.name!r}: {column.null_count} nulls, where the schema allows none"
            )
