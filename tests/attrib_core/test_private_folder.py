"""Workers are killed. What they leave behind is removed by the next process that needs such a folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attrib_core.user_code.private_folder import PREFIX, SECONDS_TO_LOCK

HOLD = """
import time
from attrib_core.user_code.private_folder import private_folder
print(private_folder(), flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process whose temporary files are in the test's folder, and which prints its private one."""
    started: list[subprocess.Popen[str]] = []

    def begin(more: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{HOLD}{more}"],
            env=os.environ | {"TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def folder_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def make_old(folder: Path) -> None:
    before = time.time() - 2 * SECONDS_TO_LOCK
    os.utime(folder, (before, before))


def test_only_folders_of_processes_that_are_gone_are_removed(tmp_path, start) -> None:
    waits = "time.sleep(600)"
    killed, alive, young = start(waits), start(waits), start(waits)
    folders = [folder_of(process) for process in (killed, alive, young)]
    for process in (killed, young):
        process.send_signal(signal.SIGKILL)
        process.wait()
    make_old(folders[0])
    make_old(folders[1])
    (folders[0] / "net.py").write_text("x = 1")
    make_old(folders[0])
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path)
    next_one = start()
    assert next_one.wait() == 0
    assert [folder.exists() for folder in folders] == [False, True, True]
    assert not folder_of(next_one).exists(), "one that ends by itself removes its own"
    assert tmp_path.exists()


def test_folders_of_versions_that_lock_none_are_left_alone(tmp_path, start) -> None:
    """A sweep of such a version may run for days beside newer commands."""
    theirs = tmp_path / "attrib-sweeps-code-x1y2z3"
    theirs.mkdir()
    make_old(theirs)
    assert start().wait() == 0
    assert theirs.exists()
