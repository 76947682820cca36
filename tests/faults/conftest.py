"""Sweeps as a user starts them, in processes that tests kill, and checks of what they leave behind."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sweeps.schemas import IDENTITY

REPOSITORY = Path(__file__).parents[2]
SECONDS_TO_FINISH = 400.0  # a minute on an idle machine is many on a busy one


@dataclass(frozen=True, kw_only=True)
class Described:
    """A sweep of a few dozen small shards: how it is started, and how much must come of it."""

    script: str
    options: str
    identity: tuple[str, ...]  # the columns that tell its rows apart
    num_shards: int
    num_rows: int


EVERYWHERE = "--num-workers 2 --address local"
SWEEPS = {
    "generate": Described(
        script="sweeps/generate_all.py",
        options="--classes 0-23 --recipes fast --num-steps 12 --image-size 64 --judges none"
        " --shard-size 1 --batch-size 1 --threads-per-worker 1",
        identity=IDENTITY["generate"],
        num_shards=24,
        num_rows=24,
    ),
    "attack": Described(
        script="sweeps/attack_all.py",
        options="--images 0-191 --methods fgsm,bim --num-steps 40 --epsilons 0,1/255,0.1"
        " --shard-size 12 --batch-size 12 --threads-per-worker 1",
        identity=IDENTITY["attack"],
        num_shards=2 * 192 // 12,
        num_rows=2 * 3 * 192,
    ),
    "attribute": Described(
        script="sweeps/attribute_all.py",
        options="--images 0-191 --methods gradient,occlusion --save-images 0-49"
        " --shard-size 8 --batch-size 8 --threads-per-worker 1",
        identity=IDENTITY["attribute"],
        num_shards=192 // 8,
        num_rows=2 * 192,
    ),
    "modify": Described(
        script="sweeps/modify_all.py",
        options="--images 0-95 --targets 3,5 --num-steps 40 --shard-size 8 --batch-size 8"
        " --threads-per-worker 1",
        identity=IDENTITY["modify"],
        num_shards=2 * 96 // 8,
        num_rows=2 * 96,
    ),
    "training": Described(
        script="sweeps/attribute_training.py",
        options="--batch-size 64 --segment 60 --panel 0-3 --every 20"
        " --methods gradient_x_input,occlusion,training_integrated_gradient",
        identity=IDENTITY["attribute_training"],
        num_shards=16,
        num_rows=2 * 4 * 47 + 4 * 16,  # each 20th of 938 updates and the first state; 16 segments
    ),
}


class Driver:
    """A process that runs a sweep, and the processes that its Ray cluster consists of."""

    def __init__(
        self, sweep: str, output: Path, *options: str, script: str | None = None, **environment: str
    ) -> None:
        # Ray's sockets want a short path; the path also marks every process of this driver.
        self.ray_folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # lives as long as the driver
        own = {"RAY_TMPDIR": self.ray_folder, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        described = SWEEPS[sweep]
        given = [*described.options.split(), *EVERYWHERE.split(), *options]
        self.process = subprocess.Popen(
            [sys.executable, script or described.script, "--output", str(output), *given],
            cwd=REPOSITORY,
            env=os.environ | own | environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, as a shell gives each command
        )

    def wait(self) -> int:
        return self.process.wait(SECONDS_TO_FINISH)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, or for the driver's end."""
        deadline = time.monotonic() + SECONDS_TO_FINISH
        while not condition() and self.process.poll() is None:
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """Send SIGINT to the process group, as Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self, title: str = "") -> list[int]:
        """Return this driver's living processes, its own included, whose command line holds `title`."""
        return _processes(self.ray_folder, title)

    def is_gone(self, seconds: float = 60.0) -> bool:
        """Return whether all its processes end by themselves in this time."""
        deadline = time.monotonic() + seconds
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        assert self.is_gone(), "a cluster outlives its driver"
        shutil.rmtree(self.ray_folder)
        self._log.close()


def _processes(ray_folder: str, title: str) -> list[int]:
    mark = f"RAY_TMPDIR={ray_folder}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes() and (
                title.encode() in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return found


@pytest.fixture(scope="session")
def find_processes() -> Callable[[str, str], list[int]]:
    """Return a finder of a cluster's living processes, by its RAY_TMPDIR and a part of their command lines."""
    return _processes


@pytest.fixture
def start() -> Iterator[Callable[..., Driver]]:
    """Yield a starter of a sweep's script, or of another in its place. No process may outlive the test."""
    drivers: list[Driver] = []

    def run(sweep: str, output: Path, *options: str, **changed: Any) -> Driver:
        drivers.append(Driver(sweep, output, *options, **changed))
        return drivers[-1]

    yield run
    for driver in drivers:
        driver.close()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Return a printer whose lines appear even if pytest captures the output."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    return line


@pytest.fixture(scope="session")
def described() -> dict[str, Described]:
    """Return the sweeps that are killed, by name."""
    return SWEEPS


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of undisturbed run directories, by the sweep's name; each is made once, when needed."""
    made: dict[str, Path] = {}

    def run(sweep: str) -> Path:
        if sweep not in made:
            output = tmp_path_factory.mktemp(f"undisturbed_{sweep}")
            driver = Driver(sweep, output)
            assert driver.wait() == 0, driver.said()
            driver.close()
            made[sweep] = output
        return made[sweep]

    return run


@pytest.fixture
def num_committed() -> Callable[[Path], int]:
    """Return a counter of a run's committed shards."""
    return lambda run: sum(1 for _ in (run / "results").glob("*.parquet"))


@pytest.fixture
def lost_and_doubled(undisturbed: Callable[[str], Path]) -> Callable[[str, Path], tuple[int, int]]:
    """Return a counter of the rows that a run lacks, and of those that it has too often."""

    def count(sweep: str, run: Path) -> tuple[int, int]:
        expected, found = keys(sweep, undisturbed(sweep)), keys(sweep, run)
        assert max(expected.values()) == 1
        return (expected - found).total(), (found - expected).total()

    return count


@pytest.fixture
def check_complete(
    undisturbed: Callable[[str], Path],
    lost_and_doubled: Callable[[str, Path], tuple[int, int]],
    stored: Callable[[Path], Any],
) -> Callable[..., None]:
    """Return a check that a run holds what the undisturbed one holds, once, and nothing else after `gc`."""

    def check(sweep: str, run: Path, *, but_for: tuple[str, ...] = ()) -> None:
        assert (run / "_SUCCESS").exists()
        assert not list((run / "failures").glob("*"))
        assert lost_and_doubled(sweep, run) == (0, 0)
        quiet, disturbed = stored(undisturbed(sweep)), stored(run)
        expected, found = (
            each.rows(SWEEPS[sweep].identity).drop(list(but_for)) for each in (quiet, disturbed)
        )
        assert len(found) == SWEEPS[sweep].num_rows
        for name in expected.column_names:
            assert found[name].equals(expected[name]), name
        assert disturbed.images() == quiet.images()
        assert tape(run) == tape(undisturbed(sweep))
        disturbed.check_tidy()
        assert not list((run / "_staging").glob("*"))
        assert len(list((run / "results").iterdir())) == SWEEPS[sweep].num_shards

    return check


def keys(sweep: str, run: Path) -> Counter[tuple[Any, ...]]:
    """Count each row, by its identity columns."""
    table = pq.read_table(run / "results", columns=list(SWEEPS[sweep].identity))
    return Counter(zip(*(column.to_pylist() for column in table.columns), strict=True))


def tape(run: Path) -> dict[str, bytes]:
    """Return all checkpoints of all trainings, if there are any."""
    return {str(path.relative_to(run)): path.read_bytes() for path in (run / "tapes").rglob("*.safetensors")}
