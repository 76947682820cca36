"""Many random kills on a cluster of several machines. Workers, raylets and drivers die, and nothing is lost.

FAULT_KILLS says how many (some if it does not), over the runs of four sweeps.
"""

import contextlib
import os
import random
import secrets
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.long
SWEEPS = ("generate", "attack", "attribute", "modify")
NUM_KILLS = -(-int(os.environ.get("FAULT_KILLS", "16")) // len(SWEEPS))
NUM_MACHINES = 2  # beside the head, which takes no work; one core each
ACTOR = "ray::Worker"  # the title that Ray gives an actor's process
# Workers die most often, as in life; a raylet's death takes its workers with it.
KINDS = {"worker": 5, "raylet": 2, "driver": 3}
SECONDS_BETWEEN_KILLS = (0.2, 3.0)
# Kills that may follow each other without a new commit: starting over takes longer than the next kill does.
MOST_WITHOUT_COMMIT = 3
MOST_DRIVERS_ENDED = 20  # by themselves, one after the other, with nothing committed in between
SECONDS_TO_COMMIT = 300.0
SECONDS_TO_START_WORKER = 20.0  # or else there is none to kill: the run may be over
# Each killed worker is held against the shards that it had, so that in this weather an innocent one would be given
# up; and a command that gives some up all the same is repeated, which tries them again.
PATIENT = ("--max-attempts", "1000")
# Ray notices a vanished machine within four of these checks; by default it takes half a minute.
QUICK_HEALTH_CHECKS = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_timeout_ms": "1000",
}


class Machines:
    """A cluster that is the test's child: it outlives drivers, and its raylets are killed and replaced."""

    def __init__(self, folder: str, find: Callable[[str, str], list[int]]) -> None:
        self.folder, self._find = folder, find
        with self._environment():
            head = {"num_cpus": 0, "include_dashboard": False}
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self._cluster.address
        self._nodes = [self._join() for _ in range(NUM_MACHINES)]

    def kill_worker(self, chance: random.Random) -> bool:
        """Kill a worker as soon as there is one; return whether there was."""
        deadline = time.monotonic() + SECONDS_TO_START_WORKER
        while not (workers := self._find(self.folder, ACTOR)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        try:
            os.kill(chance.choice(workers), signal.SIGKILL)
        except ProcessLookupError:  # its driver had gone
            return False
        return True

    def kill_raylet(self, chance: random.Random) -> bool:
        """Kill a machine's raylet; another machine joins in its place."""
        doomed = self._nodes.pop(chance.randrange(NUM_MACHINES))
        doomed.kill_raylet()
        self._cluster.remove_node(doomed, allow_graceful=False)  # what is left of it
        self._nodes.append(self._join())
        return True

    def _join(self) -> Any:
        with self._environment():
            return self._cluster.add_node(num_cpus=1, wait=False)

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        """Set the environment for the cluster's processes only, not for drivers with their own clusters."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (QUICK_HEALTH_CHECKS | {"RAY_TMPDIR": self.folder}).items():
                patch.setenv(name, value)
            yield

    def wait_until_idle(self) -> None:
        """Wait until the actors of killed drivers are gone: they may still finish a shard and write images."""
        deadline = time.monotonic() + 60
        while self._find(self.folder, ACTOR):
            assert time.monotonic() < deadline, "actors outlive their drivers"
            time.sleep(0.1)

    def close(self) -> None:
        with self._environment():
            self._cluster.shutdown()
        deadline = time.monotonic() + 60
        while left := self._find(self.folder, "ray"):
            assert time.monotonic() < deadline, f"processes outlive their cluster: {left}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def machines(find_processes: Callable[[str, str], list[int]]) -> Iterator[Machines]:
    # Ray reads its token once a process: tests of one process share theirs.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    cluster = Machines(folder, find_processes)
    yield cluster
    cluster.close()
    shutil.rmtree(folder, ignore_errors=True)


class Storm:
    """One run directory, the driver that works on it, and the kills that it outlives."""

    def __init__(self, sweep: str, run: Path, drive: Callable[[], Any], machines: Machines) -> None:
        self.sweep, self.run, self._drive, self._machines = sweep, run, drive, machines
        self.kills: Counter[str] = Counter()
        self.num_restarts = 0
        self._driver = drive()

    def rage(self, chance: random.Random, most: int) -> Iterator[None]:
        """Kill up to so many times, or until the run is complete. Yields after every kill."""
        without_commit = 0
        while self.kills.total() < most:
            before = self.num_committed()
            time.sleep(chance.uniform(*SECONDS_BETWEEN_KILLS))
            if without_commit >= MOST_WITHOUT_COMMIT:
                self._progress(lambda before=before: self.num_committed() > before)
            if self._is_complete():
                return
            without_commit = 0 if self.num_committed() > before else without_commit + 1
            self._kill(chance)
            yield

    def finish(self) -> None:
        """Let the sweep complete."""
        self._progress(self._is_complete)
        assert self._driver.wait() == 0, self._driver.said()

    def num_committed(self) -> int:
        """Return how many shards are committed at this moment."""
        return sum(1 for _ in (self.run / "results").glob("*.parquet"))

    def _kill(self, chance: random.Random) -> None:
        [kind] = chance.choices(list(KINDS), list(KINDS.values()))
        if kind == "worker":
            killed = self._machines.kill_worker(chance)
        elif kind == "raylet":
            killed = self._machines.kill_raylet(chance)
        else:
            killed = self._driver.process.poll() is None
            self._driver.kill()
            self._driver = self._drive()
        self.kills[kind] += killed

    def _progress(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, and start the same command again if the driver ends before it."""
        deadline, committed, ended = time.monotonic() + SECONDS_TO_COMMIT, self.num_committed(), 0
        while not condition() and not self._is_complete():
            if self.num_committed() > committed:
                deadline, committed, ended = time.monotonic() + SECONDS_TO_COMMIT, self.num_committed(), 0
            assert time.monotonic() < deadline, f"nothing is committed any more: {self._driver.said()}"
            if self._driver.process.poll() is not None and not self._is_complete():
                ended += 1
                self.num_restarts += 1
                assert ended < MOST_DRIVERS_ENDED, self._driver.said()
                self._driver = self._drive()
            time.sleep(0.05)

    def _is_complete(self) -> bool:
        return (self.run / "_SUCCESS").exists()


@pytest.mark.parametrize("sweep", SWEEPS)
def test_no_row_is_lost_or_doubled_whatever_is_killed(
    sweep, machines, start, undisturbed, check_complete, lost_and_doubled, say, tmp_path
) -> None:
    undisturbed(sweep)
    chance, left = random.Random(sweep), NUM_KILLS
    token = os.environ["RAY_AUTH_TOKEN"]
    elsewhere = ("--address", machines.address)
    while left > 0:
        run = tmp_path / f"after_{NUM_KILLS - left}_kills"
        storm = Storm(
            sweep,
            run,
            lambda run=run: start(sweep, run, *elsewhere, *PATIENT, RAY_AUTH_TOKEN=token),
            machines,
        )
        for _ in storm.rage(chance, left):
            if storm.kills.total() % 10 == 0:
                say(f"storm: {sweep}: {_described(storm)}, {storm.num_committed()} shards committed")
        storm.finish()
        machines.wait_until_idle()
        left -= storm.kills.total()
        lost, doubled = lost_and_doubled(sweep, run)
        say(f"storm: {sweep}: {_described(storm)}, {lost} rows lost, {doubled} doubled")
        check_complete(sweep, run)
        say(f"storm: {sweep}: rows and images equal, verify 0 problems, 0 orphans after gc")


def _described(storm: Storm) -> str:
    kinds = ", ".join(f"{storm.kills[kind]} {kind}s" for kind in KINDS)
    again = f"; {storm.num_restarts} drivers ended by themselves" if storm.num_restarts else ""
    return f"{storm.kills.total()} kills ({kinds}{again})"
