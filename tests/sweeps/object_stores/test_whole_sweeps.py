"""A sweep into an S3 server that fails now and then: killed, resumed, doubled, grown; the rows are a disk's."""

import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.schemas import IDENTITY
from sweeps.store import RunDirectory

pytestmark = pytest.mark.long
REPOSITORY = Path(__file__).parents[3]
SECONDS_TO_FINISH = 400.0
FAULTS = ("503 SlowDown", "500 InternalError", "503 after", "reset before", "reset after", "reset amid")
SHARE_OF_FAULTS = 0.1
LOST_ANSWERS = ("503 after", "reset after")
IN_A_ROW = 2  # who waits at a terminal is told of an outage after five

SWEEP = (
    "sweeps/attack_all.py --methods fgsm,bim --num-steps 20 --images 0-95 --shard-size 8 --batch-size 8"
    " --num-workers 1 --threads-per-worker 1 --address local"
)
FIRST, GROWN = "0,0.1", "0,0.05,0.1"  # the ε values that are asked for
NUM_ROWS = 2 * 3 * 96


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Yield a starter of the sweep in a process of its own."""
    started: list[tuple[subprocess.Popen, str]] = []

    def run(epsilons: str, output: str | Path) -> subprocess.Popen:
        folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # Ray's sockets want a short path
        process = subprocess.Popen(
            [sys.executable, *SWEEP.split(), "--epsilons", epsilons, "--output", str(output)],
            cwd=REPOSITORY,
            env=os.environ | {"RAY_TMPDIR": folder, "RAY_AUTH_TOKEN": secrets.token_hex(32)},
            stdout=(log := tempfile.TemporaryFile("w+")),  # noqa: SIM115
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        process.log = log
        started.append((process, folder))
        return process

    yield run
    for process, folder in started:
        process.kill()
        process.wait()
        process.log.close()
        shutil.rmtree(folder, ignore_errors=True)


def finish(process: Any) -> None:
    status = process.wait(SECONDS_TO_FINISH)
    assert status == 0, said(process)


def said(process: Any) -> str:
    process.log.seek(0)
    return process.log.read()


def now_and_then() -> Callable[[str, str], str | None]:
    """Return a choice of faults: a share of all requests fails in various ways, but few in a row.

    Of each commit the first answer is lost.
    """
    chance, in_a_row, committed, lock = random.Random(0), 0, set(), threading.Lock()

    def choose(method: str, path: str) -> str | None:
        nonlocal in_a_row
        with lock:
            if method == "PUT" and "/results/" in path and path not in committed:
                committed.add(path)
                return chance.choice(LOST_ANSWERS)
            fault = chance.choice(FAULTS) if chance.random() < SHARE_OF_FAULTS else None
            in_a_row = 0 if fault is None or in_a_row == IN_A_ROW else in_a_row + 1
            return fault if in_a_row else None

    return choose


def test_a_sweep_that_is_killed_doubled_and_grown_in_s3_has_the_rows_of_one_on_disk(
    s3_process, start, stored, tmp_path
) -> None:
    url = "s3://sweeps/run"
    s3_process.choose = now_and_then()
    killed = start(FIRST, url)
    deadline = time.monotonic() + SECONDS_TO_FINISH
    while sum(1 for _ in RunDirectory(url).committed()) < 3:
        assert killed.poll() is None, said(killed)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    killed.kill()
    assert not RunDirectory(url).succeeded()
    for driver in [start(FIRST, url) for _ in range(2)]:
        finish(driver)
    assert RunDirectory(url).succeeded()
    finish(start(GROWN, url))

    finish(start(GROWN, tmp_path / "run"))
    run = stored(url)
    expected, found = (each.rows(IDENTITY["attack"]) for each in (stored(tmp_path / "run"), run))
    assert len(expected) == NUM_ROWS
    # What ran first was cut into other shards.
    for column in set(expected.column_names) - {"shard_id", "image_key"}:
        assert found[column].equals(expected[column]), column
    assert f"{NUM_ROWS} rows" in run.maintain("status")
    assert run.named_files() != set()
    run.check_tidy()
    assert {request.fault for request in s3_process.requests} == {None, *FAULTS}
