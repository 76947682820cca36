"""What the schema does not say is refused; what is written opens everywhere."""

import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.schemas import DICTIONARY_COLUMNS, generate_images
from sweeps.store import RunDirectory, columns_table, rows_table
from sweeps.store.tables import MAX_ROW_GROUP_BYTES, images_bytes, results_bytes

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("count", pa.int32()),
        pa.field("judge", pa.struct([pa.field("a", pa.int32(), nullable=False)]), nullable=False),
        pa.field("trace", pa.list_(pa.float32())),
        pa.field("steps", pa.list_(pa.int32())),
    ]
)
ROW = {
    "name": "x",
    "count": np.int64(1),
    "judge": {"a": 2},
    "trace": np.array([0.5, 1.5], np.float32),
    "steps": np.array([1, 2]),
}


def parquet(content: memoryview) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(content))


def test_rows_become_a_table_of_the_schema() -> None:
    table = rows_table([ROW, ROW | {"count": None}], SCHEMA)
    assert table.schema == SCHEMA
    expected = {"name": "x", "count": None, "judge": {"a": 2}, "trace": [0.5, 1.5], "steps": [1, 2]}
    assert table.to_pylist()[1] == expected


def test_no_rows_become_an_empty_table_of_the_schema() -> None:
    assert rows_table([], SCHEMA) == SCHEMA.empty_table()


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (ROW | {"colour": 1}, "row 1: unknown key 'colour'"),
        ({name: value for name, value in ROW.items() if name != "count"}, "row 1: key 'count' is missing"),
        (ROW | {"judge": {}}, "column 'judge', row 1: key 'a' is missing"),
        (ROW | {"judge": {"a": 2, "b": 3}}, "column 'judge', row 1: unknown key 'b'"),
        (ROW | {"count": 1.5}, "column 'count', row 1: 1.5 is not an integer"),
        (ROW | {"count": 2**40}, "column 'count'"),
        (ROW | {"name": 3}, "column 'name'"),
        (ROW | {"name": None}, "column 'name', row 1: null"),
        (ROW | {"judge": None}, "column 'judge', row 1: null"),
        (ROW | {"judge": {"a": None}}, "column 'judge', row 1, 'a': null"),
        (ROW | {"judge": {"a": 1.5}}, "column 'judge', row 1, 'a': 1.5 is not an integer"),
        (ROW | {"steps": [1, 1.5]}, "column 'steps', row 1: 1.5 is not an integer"),
    ],
)
def test_a_row_that_differs_from_the_schema_is_refused_by_the_name_of_its_key(row, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        rows_table([ROW, row], SCHEMA)


@pytest.mark.parametrize("null", [{"name": None}, {"judge": None}, {"judge": {"a": None}}])
def test_a_null_where_the_schema_allows_none_is_refused_before_anything_is_written(null, tmp_path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(ValueError, match="null"):
        run.commit("plain-a", pa.Table.from_pylist([ROW | null], schema=SCHEMA), None)
    assert list(tmp_path.iterdir()) == []


def test_results_are_compressed_and_low_cardinality_has_dictionaries(make_rows) -> None:
    group = parquet(results_bytes(make_rows("plain-a", range(50)))).metadata.row_group(0)
    for index in range(group.num_columns):
        column = group.column(index)
        assert column.compression == "ZSTD"
        has_dictionary = "RLE_DICTIONARY" in column.encodings
        assert has_dictionary == (column.path_in_schema in DICTIONARY_COLUMNS)


def test_images_are_stored_as_they_are_with_their_hugging_face_features(make_images) -> None:
    file = parquet(images_bytes(make_images(range(4))))
    features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert file.schema_arrow.names == generate_images(3).names
    columns = [file.metadata.row_group(0).column(index) for index in range(file.metadata.num_columns)]
    compression = {column.path_in_schema: column.compression for column in columns}
    assert compression.pop("image.bytes") == "UNCOMPRESSED"
    assert set(compression.values()) == {"ZSTD"}
    assert file.read()["image"][1].as_py()["bytes"] == bytes([1]) * 1000


def test_no_row_group_of_images_passes_a_hundred_megabytes(make_images) -> None:
    sizes = [30_000_000, 60_000_000, 20_000_000, 120_000_000, 1000]
    images = pa.concat_tables([make_images([index], size) for index, size in enumerate(sizes)])
    metadata = parquet(images_bytes(images)).metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [2, 1, 1, 1]
    assert [group.num_rows for group in groups if group.total_byte_size > MAX_ROW_GROUP_BYTES] == [1]


def test_an_images_file_may_be_empty(make_images) -> None:
    assert parquet(images_bytes(make_images([]))).read().num_rows == 0


COLUMNS = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("epsilon", pa.float64()),
                     pa.field("label", pa.int32(), nullable=False)])  # fmt: skip


def test_whole_columns_become_a_table_and_one_value_stands_for_all_rows() -> None:
    columns = {"name": "fgsm", "epsilon": pa.array([0.1, None]), "label": np.array([3, 4], dtype=np.int64)}
    table = columns_table(columns, COLUMNS, 2)
    assert table.schema.equals(COLUMNS)
    assert table.to_pylist() == [
        {"name": "fgsm", "epsilon": 0.1, "label": 3},
        {"name": "fgsm", "epsilon": None, "label": 4},
    ]
    assert columns_table(columns | {"epsilon": None}, COLUMNS, 2)["epsilon"].null_count == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": np.array([1.5, 2.0])}, "column 'label' (int32)"),
        ({"label": np.array([2**40, 1])}, "column 'label' (int32)"),
        ({"label": np.array([1, 2, 3])}, "column 'label': 3 values for 2 rows"),
        ({"labels": 1}, "columns: unknown key 'labels'"),
    ],
)
def test_columns_that_a_schema_cannot_hold_are_refused(changed, message) -> None:
    columns = {"name": "fgsm", "epsilon": 0.1, "label": 3} | changed
    with pytest.raises(ValueError, match=re.escape(message)):
        columns_table(columns, COLUMNS, 2)


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(ValueError, match="columns: key 'label' is missing"):
        columns_table({"name": "fgsm", "epsilon": 0.1}, COLUMNS, 2)


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [
        ("label", [1.5, 2], "column 'label', row 0: 1.5 is not an integer"),
        ("label", [1, None], "column 'label', row 1: null, where the schema allows none"),
        ("name", ["fgsm"], "column 'name': 1 values for 2 rows"),
    ],
)
def test_a_list_is_checked_value_by_value(column, values, complaint) -> None:
    columns = {"name": "fgsm", "epsilon": 0.1, "label": 3} | {column: values}
    with pytest.raises(ValueError, match=complaint):
        columns_table(columns, COLUMNS, 2)
