"""How long until the shard of a lost worker is computed again?

Seconds from the kill to the next time that the shard's computation starts. Lost is an actor (SIGKILL), or a
machine of a cluster of several raylets: `killed` (its raylet and its worker by SIGKILL, so that connections
break) or `silent` (both stopped, so that nothing answers, as behind a broken network: that takes Ray's health
checks, at their default settings). The job `at once` has nothing to load; `attack` is the adversarial sweep's,
with torch, model and data. A shard that was lost goes to a worker that has survived. With one worker there is
none, and the start of its replacement is in the number.
"""

import argparse
import os
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from reporting import Finding, Row, command_line, publish

from cluster.pool import HasId, JobFactory, Pool, PoolOptions
from cluster.session import connect
from sweeps.attack_all import AttackOptions, attack_sweep
from sweeps.record import merge, plan_of

TARGET = 10.0  # seconds
PATIENCE = 300.0


@dataclass(frozen=True)
class Nap:
    """A shard that sleeps."""

    id: str


class NapJob:
    """Nothing to load, half a second a shard."""

    def __init__(self, _shared: Any) -> None:
        pass

    def compute(self, _nap: Nap) -> None:
        time.sleep(0.5)

    def commit(self, _slept: None, _attempt: int) -> dict[str, Any]:
        return {}


class JournalJob:
    """Another job, of which a file says when which process started to compute what."""

    def __init__(self, journal: Path, factory: JobFactory, shared: Any) -> None:
        self._journal, self._job = journal, factory(shared)
        self._node = ray.get_runtime_context().get_node_id()

    def compute(self, shard: Any) -> Any:
        with self._journal.open("a") as file:
            file.write(f"{time.monotonic()} {os.getpid()} {self._node} {shard.id}\n")
        return self._job.compute(shard)

    def commit(self, computed: Any, attempt: int) -> dict[str, Any]:
        return self._job.commit(computed, attempt)


@dataclass(frozen=True)
class Start:
    """A line of the journal; seconds of the machine's clock."""

    when: float
    pid: int
    node: str
    shard: str


def starts(journal: Path) -> list[Start]:
    """Return all that were written so far."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    rows = [line.split() for line in lines]
    return [Start(float(row[0]), int(row[1]), row[2], row[3]) for row in rows if len(row) == 4]


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job and its shards."""

    name: str
    factory: JobFactory
    shared: Any
    shards: Callable[[], Iterator[HasId]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is lost, of how many workers, how often. `lose` ends the one that has started last."""

    lost: str
    num_workers: int
    repetitions: int
    lose: Callable[[Start], None]


def run_case(case: Case, work: Work) -> Row:
    """Run shards until so many workers were lost and replaced."""
    folder = Path(tempfile.mkdtemp(prefix="recovery"))
    factory = partial(JournalJob, folder / "journal", work.factory)
    found: list[float] = []
    killer = threading.Thread(target=_lose_and_time, args=(case, folder / "journal", found), daemon=True)
    killer.start()
    with Pool(factory, work.shared, PoolOptions(num_workers=case.num_workers, max_attempts=100)) as pool:
        for _ in pool.run(work.shards()):
            if not killer.is_alive():
                break
    shutil.rmtree(folder)
    if len(found) < case.repetitions:
        raise RuntimeError(f"{case.lost}, {work.name}: {len(found)} of {case.repetitions} shards were found")
    times = {"median s": statistics.median(found), "slowest s": max(found)}
    return {"lost": case.lost, "job": work.name, "workers": case.num_workers, "times": len(found)} | times


def _lose_and_time(case: Case, journal: Path, found: list[float]) -> None:
    for _ in range(case.repetitions):
        victim = _steady(journal, case.num_workers)
        case.lose(victim)
        lost = time.monotonic()
        deadline = lost + PATIENCE
        while time.monotonic() < deadline:
            again = [each for each in starts(journal) if each.shard == victim.shard and each.when > lost]
            if again:
                found.append(again[0].when - lost)
                break
            time.sleep(0.02)


def _steady(journal: Path, num_workers: int) -> Start:
    """Return the latest start once every worker has computed two more shards, so that none is still starting."""
    begin, deadline = time.monotonic(), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        recent = [each for each in starts(journal) if each.when > begin]
        pids = [each.pid for each in recent]
        if sum(pids.count(pid) >= 2 for pid in set(pids)) >= num_workers:
            return recent[-1]
        time.sleep(0.02)
    raise TimeoutError("the workers do not work")


def end_actor(victim: Start) -> None:
    """Send an actor SIGKILL, as the kernel's out-of-memory killer would."""
    os.kill(victim.pid, signal.SIGKILL)


def end_machine(cluster: Cluster, how: signal.Signals, ended: list[int], victim: Start) -> None:
    """Kill the raylet and its worker at once; their pids go to `ended`."""
    [node] = [each for each in cluster.worker_nodes if each.node_id == victim.node]
    ended += [node.all_processes["raylet"][0].process.pid, victim.pid]
    for pid in ended:
        os.kill(pid, how)


@contextmanager
def machines(number: int) -> Iterator[Cluster]:
    """Yield a cluster of so many machines with a CPU each, and a head without."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    # The cluster writes its address there. In the usual folder other programs of this machine would find it.
    os.environ["RAY_TMPDIR"] = folder
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(number):
        cluster.add_node(num_cpus=1)
    try:
        with connect(cluster.address):
            yield cluster
    finally:
        cluster.shutdown()
        del os.environ["RAY_TMPDIR"]
        shutil.rmtree(folder, ignore_errors=True)


def nap_work() -> Work:
    """Return shards without end."""
    return Work(
        name="at once",
        factory=NapJob,
        shared=None,
        shards=lambda: (Nap(f"nap-{number}") for number in range(100_000)),
    )


def attack_work(folder: Path) -> Work:
    """Return the adversarial sweep, of 2,500 shards of about a second."""
    options = AttackOptions(output=str(folder), methods="bim", num_steps=40, epsilons="0.01", batch_size=4)
    sweep = attack_sweep(options)
    plan = plan_of(merge(None, sweep, 8), sweep.kinds)
    return Work(name="attack", factory=sweep.factory, shared=sweep.shared, shards=plan.shards)


def actor_rows(work: Work, repetitions: int) -> list[Row]:
    """Return a row for the loss of one actor of two, and one for the only one."""
    with connect("local", num_cpus=2):
        return [
            run_case(Case(lost="actor", num_workers=number, repetitions=repetitions, lose=end_actor), work)
            for number in (2, 1)
        ]


def machine_row(how: signal.Signals, work: Work) -> Row:
    """Return a row for the loss of one of two machines."""
    lost = "machine, killed" if how == signal.SIGKILL else "machine, silent"
    with machines(2) as cluster:
        ended: list[int] = []
        lose = partial(end_machine, cluster, how, ended)
        try:
            return run_case(Case(lost=lost, num_workers=2, repetitions=1, lose=lose), work)
        finally:
            for pid in ended:  # a stopped process would not notice the cluster's end
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def findings(rows: list[Row]) -> list[Finding]:
    """Compare all that does not wait for Ray's health checks with the target."""
    return [
        Finding(
            name=f"{row['lost']} of {row['workers']}, job {row['job']}: slowest",
            value=row["slowest s"],
            unit="s",
            target=None if "silent" in row["lost"] else TARGET,
            at_most=True,
        )
        for row in rows
    ]


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="of each loss of an actor")
    options = parser.parse_args()
    if options.quick:
        options.repetitions = 1
    return options


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        works = [nap_work(), attack_work(Path(folder))]
        rows = [row for work in works for row in actor_rows(work, options.repetitions)]
        rows += [machine_row(how, works[0]) for how in (signal.SIGKILL, signal.SIGSTOP)]
    publish(options, rows, findings(rows))


if __name__ == "__main__":
    main()
