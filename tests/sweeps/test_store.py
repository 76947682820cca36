"""A run directory holds each shard once, whatever its writers do; the same on a local disk and in S3."""

import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sweeps.store import RunDirectory

REPOSITORY = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("store_worker.py")


def image_names(run: RunDirectory) -> list[str]:
    return sorted(entry.name for entry in run.images())


def read_rows(run: RunDirectory, shard_id: str) -> pd.DataFrame:
    return pq.read_table(run.files.open(f"results/{shard_id}.parquet")).to_pandas()


def test_an_empty_run_directory_reads_as_empty_and_is_not_made_by_reading(run, tmp_path) -> None:
    assert run.read_sweep() is None
    assert list(run.committed()) == []
    assert run.failures() == {}
    assert run.read_progress() is None
    assert not run.succeeded()
    assert not (tmp_path / "runs").exists()


def test_a_machine_that_sees_another_run_directory_under_the_same_path_is_found_out(run) -> None:
    ours, others = {"started": "2026-01-01T00:00:00+00:00"}, {"started": "2025-01-01T00:00:00+00:00"}
    with pytest.raises(ValueError, match=r"is not the run directory of this sweep.*s3://"):
        run.check_seen(ours)
    run.update_sweep(lambda _: {"invocations": [others]})
    with pytest.raises(ValueError, match="is not the run directory"):
        run.check_seen(ours)
    run.update_sweep(lambda sweep: {"invocations": [*sweep["invocations"], ours]})
    run.check_seen(ours)


def test_a_committed_shard_is_listed_and_names_its_images(run, commit_shard) -> None:
    image_file, won = commit_shard(run, "plain-a", range(3))
    assert won
    assert list(run.committed()) == ["plain-a"]
    assert image_names(run) == [image_file]
    assert set(read_rows(run, "plain-a")["image_file"]) == {image_file}


def test_the_first_attempt_wins_and_the_loser_deletes_its_images(run, commit_shard) -> None:
    first, won = commit_shard(run, "plain-a", range(3), attempt=1)
    assert won
    _, won = commit_shard(run, "plain-a", range(3), attempt=2)
    assert not won
    assert image_names(run) == [first]
    assert set(read_rows(run, "plain-a")["attempt"]) == {1}


def test_equal_rows_without_images_are_committed_once_too(run, make_rows) -> None:
    rows = make_rows("plain-a", range(3))
    assert run.commit("plain-a", rows, None)
    assert not run.commit("plain-a", rows, None)


def test_a_race_of_attempts_with_one_number_has_one_winner(run, commit_shard) -> None:
    start = threading.Barrier(8)

    def attempt(_index: int) -> tuple[str, bool]:
        start.wait()
        return commit_shard(run, "plain-a", range(2), attempt=1)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(8)))
    [winner] = [image_file for image_file, won in outcomes if won]
    assert image_names(run) == [winner]
    assert set(read_rows(run, "plain-a")["image_file"]) == {winner}


def test_a_put_if_absent_that_is_sent_twice_is_still_its_writers(run) -> None:
    """A store that loses its first answer says 'exists already' to the request that is sent again."""
    assert run.files.put_if_absent("results/a.parquet", b"mine")
    assert run.files.put_if_absent("results/a.parquet", b"mine")
    assert not run.files.put_if_absent("results/a.parquet", b"other")
    assert run.files.read("results/a.parquet") == b"mine"


def test_pandas_reads_the_results_folder_as_it_is(tmp_path, commit_shard) -> None:
    run = RunDirectory(tmp_path)
    for shard in range(3):
        commit_shard(run, f"plain-{shard}", range(2 * shard, 2 * shard + 2))
    frame = pd.read_parquet(tmp_path / "results")
    assert sorted(frame["class_index"]) == list(range(6))
    assert frame["judge_top1"].iloc[0] == {"judge": frame["class_index"].iloc[0]}


def test_a_pickled_run_directory_opens_the_same_place(run, commit_shard) -> None:
    commit_shard(run, "plain-a", range(1))
    copy = pickle.loads(pickle.dumps(run))
    assert copy.url == run.url
    assert list(copy.committed()) == ["plain-a"]


@pytest.mark.parametrize("shard_id", ["", "a/b", "../a", "_a", ".a", "a b", "a" * 200])
def test_a_shard_id_that_is_no_safe_file_name_is_refused(shard_id, tmp_path, make_rows, make_images) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(AssertionError):
        run.commit(shard_id, make_rows(shard_id, [0]), None)
    with pytest.raises(AssertionError):
        run.put_images(shard_id, 1, make_images([0]))
    with pytest.raises(AssertionError):
        run.quarantine(shard_id, {})
    assert list(tmp_path.iterdir()) == []


def test_failures_are_recorded_replaced_and_forgotten(run) -> None:
    run.quarantine("plain-a", {"attempts": 3, "traceback": "KeyError: 'ä'"})
    run.quarantine("plain-b", {"attempts": 1})
    run.quarantine("plain-b", {"attempts": 3})
    assert run.failures() == {
        "plain-a": {"attempts": 3, "traceback": "KeyError: 'ä'"},
        "plain-b": {"attempts": 3},
    }
    run.clear_failure("plain-a")
    run.clear_failure("plain-never-failed")
    assert list(run.failures()) == ["plain-b"]


def test_success_is_marked_and_cleared(run) -> None:
    assert not run.clear_success()
    run.mark_success()
    assert run.succeeded()
    assert run.clear_success()
    assert not run.succeeded()


def test_progress_is_replaced(run) -> None:
    for done in range(3):
        run.write_progress({"committed_shards": done})
    assert run.read_progress() == {"committed_shards": 2}


def test_the_sweep_is_made_and_updated_and_a_refusal_changes_nothing(run) -> None:
    def refuse(sweep):
        raise ValueError(f"model: the directory was made with {sweep['model']!r}")

    assert run.update_sweep(lambda sweep: {"model": "a", "was": sweep}) == {"model": "a", "was": None}
    with pytest.raises(ValueError, match="made with 'a'"):
        run.update_sweep(refuse)
    assert run.update_sweep(lambda sweep: sweep | {"blocks": [1]})["blocks"] == [1]
    assert run.read_sweep() == {"model": "a", "was": None, "blocks": [1]}


def test_two_drivers_never_lose_each_others_update(run) -> None:
    command = [sys.executable, str(WORKER), "increment", run.url, "50"]
    drivers = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [driver.wait(timeout=120) for driver in drivers] == [0, 0]
    assert run.read_sweep() == {"count": 100}


def test_a_sweep_file_that_is_no_json_is_named(run) -> None:
    run.files.put("sweep.json", b"{")
    with pytest.raises(ValueError, match=r"sweep\.json is no JSON object"):
        run.read_sweep()


def test_paths_are_made_absolute_and_urls_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert RunDirectory("runs/a").url == str(tmp_path / "runs/a")
    assert RunDirectory("~/a").url == str(tmp_path / "home/a")
    assert RunDirectory("file:///data/with%20space").url == "/data/with space"
    assert RunDirectory("s3://bucket/a/").url == "s3://bucket/a"


@pytest.mark.parametrize("url", ["", " ", "ftp://host/a", "s3://", "http://host/a"])
def test_another_kind_of_url_is_refused_with_what_is_accepted(url) -> None:
    with pytest.raises(ValueError, match="accepted: a path or s3://"):
        RunDirectory(url)


@pytest.mark.long
def test_a_hundred_thousand_committed_shards_are_listed_in_seconds(tmp_path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for index in range(100_000):
        (results / f"default-seed0-class{index}-0123456789ab.parquet").touch()
    start = time.monotonic()
    committed = set(RunDirectory(tmp_path).committed())
    seconds = time.monotonic() - start
    assert len(committed) == 100_000
    assert seconds < 10


def test_the_store_loads_neither_torch_nor_ray() -> None:
    check = (
        "import sys, sweeps.store, sweeps.store.__main__; assert not {'torch', 'ray'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, check=True)
