"""What does the dispatcher cost? Jobs that only sleep, on actors that ask Ray for no CPU.

Busy share: the time that the actors spent asleep in their job, as they measured it themselves, of the time
that they were there. Share of the ideal: shards x their nominal length / actors, of the time it took; here
the operating system's late wake-ups count against the pool as well. Ray's start and the actors' are not
timed.
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any

from reporting import Finding, Row, command_line, publish

from cluster.pool import Committed, Pool, PoolOptions
from cluster.session import connect


@dataclass(frozen=True)
class Nap:
    """A shard that sleeps."""

    id: str
    seconds: float


class SleepJob:
    """Sleeps, and says how long it slept."""

    def __init__(self, _shared: Any) -> None:
        pass

    def compute(self, nap: Nap) -> float:
        start = time.perf_counter()
        time.sleep(nap.seconds)
        return time.perf_counter() - start

    def commit(self, slept: float, _attempt: int) -> dict[str, Any]:
        return {"slept": slept}


@dataclass(frozen=True, kw_only=True)
class Case:
    """So many naps of so many seconds on so many actors."""

    num_workers: int
    num_shards: int
    seconds: float
    busy_target: float | None = None
    ideal_target: float | None = None


def run_case(case: Case) -> Row:
    """Return one row: what the actors did in the time that the shards took."""
    workers = PoolOptions(num_workers=case.num_workers, cpus_per_worker=0.0)
    with Pool(SleepJob, None, workers) as pool:
        wait_for_all(pool, case.num_workers)
        naps = (Nap(f"nap-{number}", case.seconds) for number in range(case.num_shards))
        start = time.perf_counter()
        slept = [event.summary["slept"] for event in pool.run(naps) if isinstance(event, Committed)]
        seconds = time.perf_counter() - start
    assert len(slept) == case.num_shards
    available = case.num_workers * seconds
    return {
        "actors": case.num_workers,
        "shards": case.num_shards,
        "ms a shard": 1000 * case.seconds,
        "seconds": seconds,
        "shards/s": case.num_shards / seconds,
        "busy": sum(slept) / available,
        "share of ideal": case.num_shards * case.seconds / available,
    }


def wait_for_all(pool: Pool, num_workers: int) -> None:
    """Send naps until every actor has had one."""
    seen: set[str] = set()
    for turn in range(1000):
        naps = [Nap(f"warm-up-{turn}-{number}", 0.05) for number in range(2 * num_workers)]
        seen |= {event.worker for event in pool.run(naps) if isinstance(event, Committed)}
        if len(seen) == num_workers:
            return
    raise RuntimeError(f"only {len(seen)} of {num_workers} actors have started")


def findings(case: Case, row: Row) -> list[Finding]:
    name = f"{case.num_shards:,} shards of {1000 * case.seconds:.0f} ms on {case.num_workers} actors"
    return [
        Finding(name=f"{name}: busy", value=row["busy"], target=case.busy_target),
        Finding(name=f"{name}: share of the ideal", value=row["share of ideal"], target=case.ideal_target),
    ]


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--shards", type=int, default=4000, help="of 50 ms on 16 actors")
    parser.add_argument("--long-shards", type=int, default=5_000, help="of 250 ms on 64 actors")
    parser.add_argument("--short-shards", type=int, default=10_000, help="of 10 ms on 8 actors")
    options = parser.parse_args()
    if options.quick:
        options.shards, options.long_shards, options.short_shards = 320, 256, 400
    return options


def main() -> None:
    options = parse()
    cases = [
        Case(num_workers=16, num_shards=options.shards, seconds=0.05, busy_target=0.95),
        Case(num_workers=64, num_shards=options.long_shards, seconds=0.25, busy_target=0.95),
        Case(num_workers=8, num_shards=options.short_shards, seconds=0.01, ideal_target=0.7),
    ]
    with connect("local"):
        rows = [run_case(case) for case in cases]
    found = [each for case, row in zip(cases, rows, strict=True) for each in findings(case, row)]
    publish(options, rows, found)


if __name__ == "__main__":
    main()
