"""A private Ray cluster, jobs that do what their shards say and keep a journal, and a real sweep."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import ray
from ray import cloudpickle

from cluster.pool import Event, Pool, PoolOptions
from cluster.session import Session, connect
from sweeps.schemas import IDENTITY

NUM_CPUS = 4  # of the cluster that this folder's tests share


@pytest.fixture(scope="session", autouse=True)
def _token() -> None:
    """Set one token for all tests: Ray reads it once per process, and none is written into the home folder."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.fixture(scope="session")
def _connections() -> Iterator[ExitStack]:
    with ExitStack() as connections:
        yield connections


@pytest.fixture
def local_cluster(_connections: ExitStack) -> Session:
    """Return the cluster that this folder's tests share, because starting one takes seconds."""
    if (
        ray.is_initialized() and ray.cluster_resources()["CPU"] != NUM_CPUS
    ):  # another folder's, in this process
        ray.shutdown()
    if not ray.is_initialized():  # in the first test, or where the one before it has disconnected
        return _connections.enter_context(connect("local", num_cpus=NUM_CPUS))
    with connect() as session:  # leaves the cluster as it is
        return session


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the shared cluster behind this folder's last test: tests elsewhere start their own."""
    if nextitem is None or nextitem.path.parent != item.path.parent:
        ray.shutdown()


@pytest.fixture(autouse=True)
def _ship_test_functions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pickle this folder's functions by value: workers cannot import test modules."""
    modules = [request.module, _this_module()]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in modules:
        cloudpickle.unregister_pickle_by_value(module)


def _this_module() -> ModuleType:
    return sys.modules[__name__]


def nothing() -> None:
    return None


@dataclass(frozen=True)
class Shard:
    """A shard that carries what is to happen while it is computed and while it is committed."""

    id: str
    compute: Callable[[], Any] = nothing
    commit: Callable[[], Any] = nothing


@dataclass(frozen=True)
class Line:
    """One entry of the journal that workers write: who did what when, in seconds of the machine's clock."""

    what: str
    shard: str
    pid: int
    when: float


class Journal:
    """A file that every worker of the machine appends to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, what: str, shard: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{what} {shard} {os.getpid()} {time.monotonic()}\n")

    def lines(self, what: str) -> list[Line]:
        if not self.path.exists():
            return []
        rows = [line.split() for line in self.path.read_text().splitlines()]
        return [Line(row[0], row[1], int(row[2]), float(row[3])) for row in rows if row[0] == what]

    def shards(self, what: str) -> list[str]:
        return [line.shard for line in self.lines(what)]

    def wait_for(self, what: str, shard: str, seconds: float = 30.0) -> Line:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.lines(what):
                if line.shard == shard:
                    return line
            time.sleep(0.02)
        raise TimeoutError(f"nobody wrote {what} {shard}")

    def wait_for_workers(self, count: int, seconds: float = 30.0) -> None:
        """Return when so many workers have begun to compute a shard."""
        deadline = time.monotonic() + seconds
        while len({line.pid for line in self.lines("computing")}) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {count} workers compute")
            time.sleep(0.02)


class ObedientJob:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def compute(self, shard: Shard) -> tuple[Shard, Any]:
        self._journal.write("computing", shard.id)
        result = shard.compute()
        self._journal.write("computed", shard.id)
        return shard, result

    def commit(self, computed: tuple[Shard, Any], attempt: int) -> dict[str, Any]:
        shard, result = computed
        self._journal.write("committing", shard.id)
        shard.commit()
        self._journal.write("committed", shard.id)
        return {"result": result, "pid": os.getpid(), "attempt": attempt}


@pytest.fixture
def shard() -> type[Shard]:
    return Shard


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def make_pool(journal: Journal) -> Iterator[Callable[..., Pool]]:
    """Yield a maker of pools of obedient jobs (or another factory) on zero-CPU workers; close them at the end."""
    pools = []

    def make(factory: Callable[[Any], Any] = ObedientJob, shared: Any = journal, **options: Any) -> Pool:
        defaults = {"num_workers": 2, "cpus_per_worker": 0.0}
        pools.append(Pool(factory, shared, PoolOptions(**(defaults | options))))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def work_through(make_pool: Callable[..., Pool]) -> Callable[..., list[Event]]:
    """Run shards through a pool made with these options, to the end."""

    def run(shards: list[Shard], **options: Any) -> list[Event]:
        return list(make_pool(**options).run(shards))

    return run


@pytest.fixture
def is_gone() -> Callable[[int], bool]:
    """Return a check whether a process ends within ten seconds."""

    def check(pid: int) -> bool:
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not Path(f"/proc/{pid}").exists()

    return check


REPOSITORY = Path(__file__).parents[2]
NUM_ATTACKED = 240
# Forty shards of two methods. One thread: with two, sums are added up in another order.
ATTACK = (
    *(
        "sweeps/attack_all.py",
        "--images",
        f"0-{NUM_ATTACKED - 1}",
        "--methods",
        "fgsm,bim",
        "--shard-size",
        "12",
    ),
    *("--num-steps", "20", "--batch-size", "4", "--epsilons", "0,1/255,0.1", "--threads-per-worker", "1"),
)


@pytest.fixture(scope="session")
def attack_command() -> Callable[..., list[str]]:
    """Return the maker of a command: an adversarial sweep of many small shards."""

    def command(output: Path, *options: str) -> list[str]:
        return [sys.executable, *ATTACK, "--output", str(output), *options]

    return command


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, attack_command: Callable[..., list[str]]) -> Path:
    """Return the run directory of that sweep if nothing disturbs it, on a cluster of its own."""
    output = tmp_path_factory.mktemp("undisturbed")
    ray_folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # Ray's sockets want a short path
    done = subprocess.run(
        attack_command(output, "--address", "local", "--num-workers", "2"),
        cwd=REPOSITORY,
        env=os.environ | {"RAY_TMPDIR": ray_folder},
        capture_output=True,
        text=True,
    )
    shutil.rmtree(ray_folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture
def check_undisturbed(undisturbed: Path, stored: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Return a check that a run has the undisturbed one's rows and images, once, and nothing else after `gc`."""

    def check(run: Path) -> None:
        assert (run / "_SUCCESS").exists()
        assert not list((run / "failures").glob("*"))
        quiet, disturbed = stored(undisturbed), stored(run)
        found = disturbed.rows(IDENTITY["attack"])
        assert len(found) == 2 * 3 * NUM_ATTACKED
        assert found.equals(quiet.rows(IDENTITY["attack"]))
        assert disturbed.images() == quiet.images()
        disturbed.check_tidy()

    return check


@pytest.fixture
def wait_for_commits() -> Callable[..., None]:
    """Return a wait until so many shards are committed, which fails if the driver ends."""

    def wait(count: int, run: Path, driver: "subprocess.Popen[bytes]", said: Callable[[], str]) -> None:
        deadline = time.monotonic() + 300
        while sum(1 for _ in (run / "results").glob("*.parquet")) < count:
            assert driver.poll() is None, said()
            assert time.monotonic() < deadline, said()
            time.sleep(0.02)

    return wait
