"""Does a large plan cost anything? A million shards, at the first start and when a run continues.

Drivers in processes of their own (`plan_scale_driver.py`) call `run_sweep` with jobs that do nothing, and
are interrupted (Ctrl-C) after some shards, as by a user. Seconds count from the call, with Ray started, to
the moment when an actor computes its first shard, so the start of the actors is in them; a small plan shows
how much of it is not the plan's. Driver memory is sampled while shards run. Linux only: it reads /proc.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
from plan_scale_driver import KINDS, no_op_sweep
from reporting import Finding, Row, command_line, publish

from sweeps.cli import INTERRUPTED
from sweeps.plan import Plan, Shard
from sweeps.record import plan_of
from sweeps.runner import record
from sweeps.store import RunDirectory

DRIVER = Path(__file__).with_name("plan_scale_driver.py")
LINKS_PER_FILE = 10_000  # file systems limit the number of hard links to a file
MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """A plan of so many shards of one cell; the driver is interrupted after `stop_after` of them."""

    name: str
    num_shards: int
    stop_after: int
    num_committed: int = 0


@dataclass
class Observed:
    """What was seen of a driver from outside."""

    seconds_to_ray: float = 0.0
    seconds_to_first: float = 0.0
    first_shards: set[str] = field(default_factory=set)
    # (shards done, bytes resident), each time that progress.json was rewritten
    memory: list[tuple[int, int]] = field(default_factory=list)


def observe(case: Case, folder: Path) -> Observed:
    """Run a case and watch it; its run directory stays in `folder`."""
    output, notes = folder / "run", folder / "notes"
    notes.mkdir(parents=True)
    if case.num_committed:
        pretend_committed(case, output)
    observed = Observed()
    begin = time.time()
    command = [sys.executable, str(DRIVER), str(case.num_shards), str(output), str(notes)]
    with subprocess.Popen(command) as driver:
        watch(driver, case, output, observed)
    assert driver.returncode == INTERRUPTED, f"{case.name}: the driver ended with {driver.returncode}"
    start = json.loads((notes / "start.json").read_text())["time"]
    firsts = [json.loads(note.read_text()) for note in notes.glob("first-*.json")]
    observed.seconds_to_ray = start - begin
    observed.seconds_to_first = min(first["time"] for first in firsts) - start
    observed.first_shards = {first["shard"] for first in firsts}
    return observed


def watch(driver: subprocess.Popen[bytes], case: Case, output: Path, observed: Observed) -> None:
    """Sample the driver's memory, and interrupt it after enough shards."""
    done = 0
    while driver.poll() is None:
        time.sleep(0.1)
        now_done = shards_done(output)
        if now_done > done:
            done = now_done
            observed.memory.append((done, resident_bytes(driver.pid)))
        if done >= case.stop_after:
            driver.send_signal(signal.SIGINT)
            driver.wait()


def shards_done(output: Path) -> int:
    """Return what progress.json says of this run."""
    try:
        return int(json.loads((output / "progress.json").read_text())["committed_by_this_run"])
    except (FileNotFoundError, KeyError):
        return 0


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, IndexError):
        return 0


def pretend_committed(case: Case, output: Path) -> None:
    """Link one real results file under the names of the plan's first shards."""
    run, results = RunDirectory(output), output / "results"
    run.commit("original", pa.table({"shard_id": ["original"]}), None)
    original = results / "original.parquet"
    template = output / "template.parquet"
    original.rename(template)
    copy = template
    for number, shard in enumerate(islice(recorded_plan(case, run).shards(), case.num_committed)):
        if number % LINKS_PER_FILE == 0:
            copy = output / f"template-{number}.parquet"
            shutil.copy(template, copy)
        os.link(copy, results / f"{shard.id}.parquet")
    for leftover in output.glob("template*.parquet"):
        leftover.unlink()


def recorded_plan(case: Case, run: RunDirectory) -> Plan:
    """Return the plan as the driver will see it: through sweep.json."""
    return plan_of(record(run, no_op_sweep(case.num_shards, Path()), 1), KINDS)


def expected_first(case: Case, run: RunDirectory) -> set[str]:
    """Return the shards that two actors may get first: those behind the committed ones, two calls per actor."""
    shards: Iterator[Shard] = recorded_plan(case, run).shards()
    return {shard.id for shard in islice(shards, case.num_committed, case.num_committed + 4)}


def row(case: Case, observed: Observed) -> Row:
    memory = flat_part(observed)
    return {
        "plan": case.name,
        "shards": case.num_shards,
        "committed": case.num_committed,
        "Ray's start s": observed.seconds_to_ray,
        "first shard s": observed.seconds_to_first,
        "shards run": observed.memory[-1][0] if observed.memory else 0,
        "MiB early": memory[0][1] / MEBIBYTE if memory else 0.0,
        "MiB late": memory[-1][1] / MEBIBYTE if memory else 0.0,
    }


def flat_part(observed: Observed) -> list[tuple[int, int]]:
    """Return the samples after the first tenth of the shards, when imports and buffers are there."""
    memory = [sample for sample in observed.memory if sample[1]]
    return [sample for sample in memory if sample[0] >= memory[-1][0] / 10]


def bytes_per_shard(observed: Observed) -> float:
    """Return the driver's growth per shard, from the first to the last of the samples that count."""
    memory = flat_part(observed)
    if len(memory) < 2:
        return 0.0
    return (memory[-1][1] - memory[0][1]) / (memory[-1][0] - memory[0][0])


def findings(cases: dict[str, Observed]) -> list[Finding]:
    small, large, resumed = cases["small"], cases["large"], cases["resumed"]
    return [
        Finding(
            name="large plan: first shard", value=large.seconds_to_first, unit="s", target=5.0, at_most=True
        ),
        Finding(
            name="  beyond the small plan",
            value=large.seconds_to_first - small.seconds_to_first,
            unit="s",
        ),
        Finding(name="large plan: driver's growth", value=bytes_per_shard(large), unit="bytes a shard"),
        Finding(
            name="  if it went on to the plan's end",
            value=bytes_per_shard(large) * 1e6 / MEBIBYTE,
            unit="MiB in a million shards",
        ),
        Finding(
            name="resumed: first shard that is missing",
            value=resumed.seconds_to_first,
            unit="s",
            target=10.0,
            at_most=True,
        ),
    ]


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--shards", type=int, default=1_000_000, help="of the large plan; in thousands")
    parser.add_argument("--stop-after", type=int, default=100_000, help="shards of the large plan that run")
    parser.add_argument("--committed", type=int, default=100_000, help="shards committed before it resumes")
    options = parser.parse_args()
    if options.quick:
        options.stop_after, options.committed = 500, 2_000
    return options


def main() -> None:
    options = parse()
    cases = {
        "small": Case(name="small", num_shards=20_000, stop_after=1),
        "large": Case(name="large", num_shards=options.shards, stop_after=options.stop_after),
        "resumed": Case(
            name="resumed", num_shards=options.shards, stop_after=1, num_committed=options.committed
        ),
    }
    observed: dict[str, Observed] = {}
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            observed[name] = observe(case, Path(folder))
            expected = expected_first(case, RunDirectory(Path(folder) / "run"))
        assert observed[name].first_shards & expected, f"{name}: the work began elsewhere"
    publish(options, [row(case, observed[name]) for name, case in cases.items()], findings(observed))


if __name__ == "__main__":
    main()
