"""A process may die at any instant: readers meet no partial file, the next attempt completes the shard."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sweeps.store import CRASH_POINTS, RunDirectory
from sweeps.store.crash_points import VARIABLE

REPOSITORY = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("store_worker.py")


def start_worker(url: str, number: int, **environment: str) -> subprocess.Popen:
    """Start a process that commits `worker<number>-0`, `-1`, ...; return after its first commit or its death."""
    command = [sys.executable, str(WORKER), "commit", url, str(number)]
    worker = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, env=os.environ | environment)
    worker.stdout.readline()
    worker.stdout.close()
    return worker


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_crash_leaves_the_shard_whole_or_absent_and_the_next_attempt_completes_it(
    point, run, commit_shard
) -> None:
    if point == "staged" and run.url.startswith("s3://"):
        pytest.skip("a store has no staged state")
    worker = start_worker(run.url, 0, **{VARIABLE: point})
    assert worker.wait(timeout=60) == -signal.SIGKILL
    committed_by_the_dead = point == "after_commit"
    assert list(run.committed()) == (["worker0-0"] if committed_by_the_dead else [])
    [orphan_or_committed] = [entry.name for entry in run.images()]

    image_file, won = commit_shard(run, "worker0-0", range(2))
    assert won != committed_by_the_dead
    assert list(run.committed()) == ["worker0-0"]
    named = set(pq.read_table(run.files.open("results/worker0-0.parquet"))["image_file"].to_pylist())
    assert named == {orphan_or_committed if committed_by_the_dead else image_file}
    assert named <= {entry.name for entry in run.images()}


def check_while_killing(folder: Path, num_kills: int) -> int:
    """Kill worker after worker at random moments while a reader reads; return how often it read."""
    run = RunDirectory(folder)
    chance = random.Random(0)
    finished = threading.Event()
    reads: list[int] = []
    errors: list[BaseException] = []

    def read() -> None:
        try:
            while not finished.is_set():
                if not any(run.committed()):
                    continue
                rows = pd.read_parquet(folder / "results", columns=["shard_id", "row"])
                counts = rows.groupby("shard_id")["row"].agg(["count", "nunique"])
                assert (counts == 2000).all(axis=None)
                reads.append(len(counts))
        except BaseException as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(num_kills):
        worker = start_worker(str(folder), number)
        time.sleep(chance.uniform(0.01, 0.4))
        worker.kill()
        worker.wait()
    finished.set()
    reader.join()
    assert errors == []
    assert reads == sorted(reads)
    check_images(run)
    return len(reads)


def check_images(run: RunDirectory) -> None:
    """Check that every image file opens and is whole, and that every one that a row names is there."""
    images = {entry.name: pq.read_table(run.files.open(entry.path)).num_rows for entry in run.images()}
    assert set(images.values()) == {1}
    for entry in run.results():
        assert set(pq.read_table(run.files.open(entry.path))["image_file"].to_pylist()) <= images.keys()


def test_a_reader_never_meets_a_partial_file_while_writers_are_killed(tmp_path) -> None:
    assert check_while_killing(tmp_path, num_kills=5) > 5


@pytest.mark.long
def test_a_reader_never_meets_a_partial_file_while_many_writers_are_killed(tmp_path) -> None:
    assert check_while_killing(tmp_path, num_kills=30) > 30
