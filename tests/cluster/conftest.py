"""A private Ray cluster, and jobs that do what their shards tell them and keep a journal of it."""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ray import cloudpickle

from cluster.pool import Event, Pool, PoolOptions
from cluster.session import Session, connect


@pytest.fixture(scope="session", autouse=True)
def _token() -> None:
    """Ray reads its token once a process: all tests share one, and none is written into the home folder."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.fixture(scope="module")
def local_cluster() -> Iterator[Session]:
    with connect("local", num_cpus=4) as session:
        yield session


@pytest.fixture(autouse=True)
def _ship_test_functions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Workers cannot import test modules: their functions travel by value."""
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
    """Pools of obedient jobs (or of another factory) on zero-CPU workers, closed at the end of the test."""
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
    """Whether a process ends within ten seconds."""

    def check(pid: int) -> bool:
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not Path(f"/proc/{pid}").exists()

    return check
