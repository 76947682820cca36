"""Rows that name several images: none of them is an orphan, each is missed."""

from datetime import timedelta

import pyarrow as pa
import pytest

from sweeps.store import RunDirectory
from sweeps.store.maintenance import collect_garbage
from sweeps.store.verification import verify

COLUMNS = ("image", "perturbation", "clean")


def named_rows(rows: pa.Table, files: dict[str, str | None], keys: dict[str, str | None]) -> pa.Table:
    """Return the rows with these files and keys in the image columns, and add the columns that they lack."""
    for column in COLUMNS:
        for part, values in (("file", files), ("key", keys)):
            name = f"{column}_{part}"
            if name in rows.column_names:
                rows = rows.drop_columns([name])
            rows = rows.append_column(name, pa.array([values[column]] * len(rows), pa.string()))
    return rows


@pytest.fixture
def three_files(run, make_rows, make_images) -> tuple[RunDirectory, dict[str, str]]:
    """Return a shard whose rows name an image in each of three files, by image column."""
    run.update_sweep(lambda _sweep: {"sweep": "generate"})
    files = {
        column: run.put_images("plain-0", 1, make_images([index])) for index, column in enumerate(COLUMNS)
    }
    keys = {column: f"plain-c{index}" for index, column in enumerate(COLUMNS)}
    run.commit("plain-0", named_rows(make_rows("plain-0", [0, 1]), files, keys), files["image"])
    return run, files


def test_every_image_named_counts_once_and_none_is_an_orphan(three_files) -> None:
    run, _ = three_files
    found = verify(run)
    assert found.problems == []
    assert (found.num_rows, found.num_images, found.num_orphan_images) == (2, 3, 0)


def test_no_file_that_any_column_names_is_garbage(three_files, make_images) -> None:
    run, files = three_files
    orphan = run.put_images("plain-0", 2, make_images([0]))
    garbage = collect_garbage(run, older_than=timedelta(0))
    assert [entry.name for entry in garbage.files] == [orphan]
    assert {entry.name for entry in run.images()} == set(files.values())


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_file_is_found_whichever_column_names_it(three_files, column) -> None:
    run, files = three_files
    run.files.delete(f"images/{files[column]}")
    assert verify(run).problems == [f"images/{files[column]} is missing, and 1 images with it"]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_file_without_a_key_is_found_in_every_column(three_files, make_rows, column) -> None:
    run, files = three_files
    names = dict.fromkeys(COLUMNS, None)
    rows = named_rows(make_rows("plain-8", [8, 9]), names | {column: files[column]}, names)
    run.commit("plain-8", rows, None)
    assert verify(run).problems == [
        f"plain-8.parquet: a row has {column}_file {files[column]!r} but {column}_key None"
    ]


def test_half_a_pair_of_columns_is_found(three_files, make_rows) -> None:
    run, _ = three_files
    rows = make_rows("plain-8", [8]).append_column("clean_file", pa.array(["a.parquet"]))
    run.commit("plain-8", rows, None)
    assert verify(run).problems == ["plain-8.parquet: of clean_file and clean_key it has clean_file alone"]


def test_a_file_is_not_deleted_that_half_a_pair_names(three_files, make_rows, make_images) -> None:
    run, _ = three_files
    file = run.put_images("plain-8", 1, make_images([8]))
    rows = make_rows("plain-8", [8]).append_column("clean_file", pa.array([file]))
    run.commit("plain-8", rows, None)
    assert collect_garbage(run, older_than=timedelta(0)).files == []
