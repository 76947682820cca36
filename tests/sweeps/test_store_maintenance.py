"""Maintenance finds what is wrong, deletes only what nobody needs, and counts right."""

import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from sweeps.schemas import SCHEMA_VERSION
from sweeps.schemas.axis_kinds import AxisKinds
from sweeps.store import RunDirectory
from sweeps.store.__main__ import main
from sweeps.store.maintenance import collect_garbage, open_run, status
from sweeps.store.tables import results_bytes
from sweeps.store.verification import verify

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def finished(run, commit_shard) -> RunDirectory:
    """Return a run of three shards with two rows each."""
    run.update_sweep(lambda _sweep: {"sweep": "generate"})
    for shard in range(3):
        commit_shard(run, f"plain-{shard}", [2 * shard, 2 * shard + 1])
    return run


@pytest.fixture
def local(tmp_path, commit_shard) -> RunDirectory:
    """Return a run of one shard with two rows, on a local disk."""
    run = RunDirectory(tmp_path / "run")
    run.update_sweep(lambda _sweep: {"sweep": "generate"})
    commit_shard(run, "plain-0", [0, 1])
    return run


def replace_column(rows: pa.Table, name: str, values) -> pa.Table:
    index = rows.schema.get_field_index(name)
    return rows.set_column(index, rows.schema.field(index), pa.array(values, rows.schema.field(index).type))


def test_a_finished_run_has_no_problems(finished) -> None:
    found = verify(finished)
    assert found.problems == []
    assert (found.num_committed, found.num_rows, found.num_images, found.num_orphan_images) == (3, 6, 6, 0)


def test_orphan_images_and_failures_are_told_and_are_no_problem(finished, make_images) -> None:
    finished.put_images("plain-9", 1, make_images([9]))
    finished.quarantine("plain-9", {"attempts": 3})
    found = verify(finished)
    assert found.problems == []
    assert found.num_orphan_images == 1
    assert found.failures == ["plain-9"]


def test_a_truncated_results_file_is_found(finished) -> None:
    content = finished.files.read("results/plain-1.parquet")
    finished.files.put("results/plain-1.parquet", content[:-100])
    [problem] = verify(finished).problems
    assert "plain-1.parquet cannot be read" in problem


def test_a_flipped_bit_in_a_results_file_is_found(finished) -> None:
    content = bytearray(finished.files.read("results/plain-1.parquet"))
    content[200] ^= 1
    finished.files.put("results/plain-1.parquet", bytes(content))
    [problem] = verify(finished).problems
    assert "plain-1.parquet cannot be read" in problem


def test_a_key_in_two_files_is_found(finished, make_rows) -> None:
    finished.commit("plain-8", make_rows("plain-8", [5, 8]), None)
    [problem] = verify(finished).problems
    assert "1 keys are in" in problem
    assert "plain-2.parquet" in problem
    assert "plain-8.parquet" in problem


def test_a_key_twice_in_a_file_is_found(finished, make_rows) -> None:
    finished.commit("plain-8", make_rows("plain-8", [8, 8]), None)
    assert verify(finished).problems == ["plain-8.parquet: 1 keys are repeated in it"]


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("schema_version", [SCHEMA_VERSION, 99], "schema_version"),
        ("shard_id", ["plain-8", "plain-7"], "its rows are of shard"),
        ("sweep", ["dream", "dream"], "identity columns are known: attack, attribute"),
        ("image_key", ["k", None], "a row has image_file None but image_key 'k'"),
    ],
)
def test_rows_that_contradict_their_file_are_found(finished, make_rows, column, values, problem) -> None:
    rows = replace_column(make_rows("plain-8", [8, 9]), column, values)
    finished.commit("plain-8", rows, None)
    assert [problem in line for line in verify(finished).problems] == [True]


def test_a_new_sweep_is_told_apart_by_the_axes_that_it_records(finished, make_rows) -> None:
    kinds = AxisKinds(group=("recipe",), cells=("class_index",))
    finished.update_sweep(lambda _: {"sweep": "dream", "axis_kinds": kinds.as_record()})
    for shard_id, classes in (("plain-8", [8, 9]), ("plain-9", [9])):
        rows = replace_column(make_rows(shard_id, classes), "sweep", ["dream"] * len(classes))
        finished.commit(shard_id, rows, None)
    [problem] = verify(finished).problems
    assert "1 keys are in plain-" in problem
    assert {"plain-8.parquet", "plain-9.parquet"} == set(re.findall(r"plain-\d\.parquet", problem))


def test_a_results_file_of_something_else_is_found(finished) -> None:
    finished.files.put("results/other.parquet", bytes(results_bytes(pa.table({"a": [1]}))))
    assert "columns are missing: image_file" in verify(finished).problems[0]


def test_a_missing_image_file_and_a_missing_image_are_found(finished, make_rows, make_images) -> None:
    image_file = finished.put_images("plain-8", 1, make_images([8]))
    finished.commit("plain-8", make_rows("plain-8", [8, 9], image_file=image_file), image_file)
    gone = min(entry.name for entry in finished.images())
    finished.files.delete(f"images/{gone}")
    problems = verify(finished).problems
    assert sorted(problems) == [
        f"images/{gone} is missing, and 2 images with it",
        f"images/{image_file} lacks 1 images, the first is 'plain-c9'",
    ]


def test_garbage_is_what_no_row_names_and_what_is_staged(finished, make_images) -> None:
    committed = {entry.name for entry in finished.images()}
    orphan = finished.put_images("plain-0", 2, make_images([0]))
    finished.files.put("_staging/0123-plain-9.parquet", b"half")
    paths = {f"images/{orphan}", "_staging/0123-plain-9.parquet"}
    young = collect_garbage(finished, older_than=timedelta(minutes=1))
    assert (young.files, young.num_too_young) == ([], 2)
    planned = collect_garbage(finished, older_than=timedelta(0), dry_run=True)
    assert {entry.path for entry in planned.files} == paths
    assert len(list(finished.images())) == 4
    deleted = collect_garbage(finished, older_than=timedelta(0))
    assert {entry.path for entry in deleted.files} == paths
    assert {entry.name for entry in finished.images()} == committed
    assert list(finished.files.staged()) == []
    assert verify(finished).problems == []


def test_a_half_written_file_of_a_killed_writer_is_garbage(local) -> None:
    """obstore writes `NAME#1` first, and hides it from its own listing."""
    staging = Path(local.url, "_staging")
    (staging / "0123-plain-9.parquet#1").write_bytes(b"half")
    old = time.time() - 7200
    os.utime(staging / "0123-plain-9.parquet#1", (old, old))
    assert main(["gc", local.url]) == 0
    assert list(staging.iterdir()) == []


def test_no_image_is_deleted_while_a_results_file_cannot_be_read(finished, make_images) -> None:
    finished.put_images("plain-9", 1, make_images([9]))
    finished.files.put("results/plain-1.parquet", b"PAR1")
    with pytest.raises(ValueError, match=r"plain-1\.parquet cannot be read.*nothing was deleted"):
        collect_garbage(finished, older_than=timedelta(0))
    assert len(list(finished.images())) == 4


def test_status_counts(finished) -> None:
    finished.quarantine("plain-9", {"attempts": 3})
    finished.write_progress({"total_shards": 4})
    found = status(finished)
    assert (found.num_committed, found.num_rows, found.num_image_files) == (3, 6, 3)
    assert found.result_bytes == sum(entry.size for entry in finished.results())
    assert found.image_bytes == sum(entry.size for entry in finished.images())
    assert found.failures == {"plain-9": {"attempts": 3}}
    assert found.progress == {"total_shards": 4}
    assert not found.succeeded


@pytest.mark.parametrize("command", ["verify", "gc", "status", "export-webdataset"])
@pytest.mark.parametrize("place", ["nothing", "empty"])
def test_a_place_that_is_no_run_is_a_mistake_and_stays_as_it_is(command, place, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    arguments = [command, str(tmp_path / place)]
    arguments += [str(tmp_path / "output")] if command == "export-webdataset" else []
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / place} is not a run directory: it has no sweep.json" in error
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


@pytest.mark.parametrize("minutes", ["-1", "soon", "nan", "inf"])
def test_an_age_that_is_none_is_a_mistake(minutes, local) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["gc", local.url, f"--older-than={minutes}"])
    assert ended.value.code == 2


def test_the_exit_status_tells_whether_problems_were_found(local, capsys) -> None:
    assert main(["verify", local.url]) == 0
    assert "1 shards, 2 rows, 2 images" in capsys.readouterr().out
    local.files.put("results/plain-0.parquet", b"PAR1")
    assert main(["verify", local.url]) == 1
    assert "1 problems\n  plain-0.parquet cannot be read" in capsys.readouterr().out
    assert main(["status", local.url]) == 0
    assert "1 shards, 0 rows (1 unreadable)" in capsys.readouterr().out
    assert main(["gc", local.url]) == 2
    assert "nothing was deleted" in capsys.readouterr().err


def test_the_module_runs_as_a_command(local) -> None:
    command = [sys.executable, "-m", "sweeps.store", "status", local.url]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "committed   1 shards, 2 rows" in done.stdout
    assert done.stderr == ""


def test_opening_a_run_gives_it_back(local) -> None:
    assert open_run(local.url).url == local.url
