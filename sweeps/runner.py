"""The loop that every sweep calls: record, plan, pool, progress, exit status."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from attrib_core.devices import bfloat16_is_slow
from attrib_core.user_code import Code, install, taken
from cluster.pool import (
    ClusterLostError,
    Committed,
    Job,
    JobFactory,
    NoWorkerStartedError,
    Pool,
    PoolOptions,
)
from cluster.session import Session, connect
from sweeps.actor_device import DescribedJob, DeviceShare, DevicesSeen
from sweeps.cli import INTERRUPTED, SweepOptions, same_command
from sweeps.notices.driver import Notices, open_notices
from sweeps.outcome import SOME_QUARANTINED, close, handle, resume_after
from sweeps.provenance import provenance
from sweeps.record import merge, plan_of, unrecorded_images
from sweeps.shard_sizes import uses_gpus
from sweeps.side_table import side_plan, with_side_table
from sweeps.store import RunDirectory
from sweeps.sweep import Preparation, Sweep
from sweeps.work import Planned, Work

# Seconds without an event before the user is told what the run waits for. A shard may take minutes on a CPU.
STALL_TIMEOUT = 300.0


def run_sweep(sweep: Sweep, options: SweepOptions) -> int:
    """Complete the sweep in its run directory and return the exit status.

    Raises ValueError for every mistake that can be seen before work starts.
    """
    run = RunDirectory(options.output)
    shard_size = sweep.cells_per_shard(options, on_gpu=uses_gpus(options))
    existing = run.read_sweep()
    wanted = merged(existing, sweep, shard_size)
    if options.plan:
        if sweep.check is not None:
            sweep.check()
        print_plan(sweep, wanted, options, run)
        return 0
    run.check_writable()
    work = work_of(wanted, sweep, run)
    if work.is_done:  # no worker need be started to find that out
        return close(sweep, work)
    if sweep.check is not None:
        sweep.check()
    for note in sweep.notes:
        work.progress.log(note)
    with connect(options.address, num_cpus=options.num_workers) as session:
        workers = pool_options(options, session)
        shard_size = sweep.cells_per_shard(options, on_gpu=workers.gpus_per_worker > 0)
        written = record(run, sweep, shard_size)
        if sweep.data is not None:
            sweep.data.record(run)
        share = DeviceShare(workers.gpus_per_worker, options.precision)
        check_node = partial(_begin_actor, taken(), run, written["invocations"][-1], share)
        blocks, before = ((each["blocks"], each.get("beside")) for each in (written, wanted))
        # Another driver has asked for more meanwhile, so that some cells may be its own; or workers elsewhere use
        # GPUs, which this machine lacks, and shards have another size.
        if blocks != before:
            work = work_of(written, sweep, run)
        if existing is not None and sweep.batch_size != existing.get("batch_size"):
            size_before = existing.get("batch_size") or "none given"
            work.progress.log(
                f"batch_size: {sweep.batch_size} here, {size_before} before: the last bits of rows may differ"
            )
        for name in unrecorded_images(existing, sweep.definitions):
            work.progress.log(
                f"warning: {run.url} does not record how {name} were resized, here {sweep.definitions[name]}; "
                "early versions did it otherwise for some of timm's models: if in doubt, choose another --output"
            )
        if not workers.gpus_per_worker and bfloat16_is_slow(options.precision):
            work.progress.log(
                f"precision: {options.precision} is emulated by this machine's processor, which has no bfloat16; "
                "float32 is faster on it"
            )
        work.progress.log(f"configuration: {_configuration(sweep, options)}")
        if run.clear_success():
            work.progress.log("The plan has grown: _SUCCESS comes back when all of it is committed.")
        factory = partial(_build_where_seen, check_node, sweep.factory, share)
        with notices_of(sweep, options, run, work.progress.log) as notices:
            if sweep.prepare is not None:
                try:
                    sweep.prepare(Preparation(work.shards, workers, work.progress.log, check_node))
                except KeyboardInterrupt:
                    work.progress.log(resume_after(work))
                    return notices.ends(INTERRUPTED)
                work = work_of(written, sweep, run)
            work.progress.listener = notices.tell
            return notices.ends(_complete(sweep, work, workers, factory))


def notices_of(sweep: Sweep, options: SweepOptions, run: RunDirectory, log: Callable[[str], None]) -> Notices:
    """Return what tells the trackers of --notify; that option itself may name servers, so it is not told."""
    resolved = options.model_dump(exclude_none=True, exclude={"plan", "config", "notify"})
    return open_notices(options.notify, sweep.name, resolved | sweep.settings, run, log)


def merged(existing: dict[str, Any] | None, sweep: Sweep, shard_size: int) -> dict[str, Any]:
    """Return the content of sweep.json with all that the sweep requests. ValueError as of `merge`."""
    return with_side_table(merge(existing, sweep, shard_size), sweep.beside, shard_size)


def work_of(written: dict[str, Any], sweep: Sweep, run: RunDirectory) -> Work:
    """Return what the run directory still lacks of what the sweep requests.

    Raises ValueError if this command cannot compute it.
    """
    beside = []
    if (table := sweep.beside) is not None:
        beside.append(Planned(side_plan(written, table), run.beside(table.folder), table.requested))
    work = Work(plan_of(written, sweep.kinds), sweep, run, beside)
    if work.first is not None and sweep.check_first is not None:
        sweep.check_first(work.first)
    return work


def _begin_actor(
    codes: tuple[Code, ...], run: RunDirectory, invocation: dict[str, Any], share: DeviceShare
) -> None:
    """Take the share of a GPU, make the user's code available, and see that this machine sees the run directory.

    What actors share is unpickled before that: it holds references as text, never objects of a user's classes.
    """
    share.take()  # before any code that could use a GPU
    install(codes)
    run.check_seen(invocation)


def _build_where_seen(
    check_node: Callable[[], None], factory: JobFactory, share: DeviceShare, shared: Any
) -> Job:
    check_node()
    return DescribedJob(factory(shared), share.describe())


def record(run: RunDirectory, sweep: Sweep, shard_size: int) -> dict[str, Any]:
    """Add what is requested to sweep.json and return the merged record."""
    invocation = provenance() | sweep.provenance

    def transform(existing: dict[str, Any] | None) -> dict[str, Any]:
        wanted = merged(existing, sweep, shard_size)
        return wanted | {"invocations": [*wanted["invocations"], invocation][-100:]}

    return run.update_sweep(transform)


def pool_options(options: SweepOptions, session: Session) -> PoolOptions:
    """Choose how many actors there are and what each may use: by the options, else by what the cluster has."""
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = session.default_gpus_per_worker
    if options.precision in ("float16", "tf32") and not gpus:
        raise ValueError(f"precision: {options.precision!r} needs GPUs; accepted on a CPU: float32, bfloat16")
    num_workers = options.num_workers or session.default_workers(gpus)
    threads = options.threads_per_worker or max(1, int(session.num_cpus) // num_workers)
    return PoolOptions(
        num_workers=num_workers,
        gpus_per_worker=gpus,
        cpus_per_worker=1,
        threads_per_worker=threads,
        max_attempts=options.max_attempts,
        shard_timeout=options.shard_timeout,
        stall_timeout=STALL_TIMEOUT,
    )


def _complete(sweep: Sweep, work: Work, workers: PoolOptions, factory: JobFactory) -> int:
    run, progress = work.run, work.progress
    if work.is_done:
        return close(sweep, work)
    workers = replace(workers, num_workers=min(workers.num_workers, progress.total))
    progress.log(
        f"{sweep.name}: {progress.total} shards in {run.url} on {workers.num_workers} workers"
        f" x {workers.threads_per_worker} threads"
    )
    devices = DevicesSeen(run, progress.log)
    try:
        with progress, Pool(factory, sweep.shared, workers, log=progress.log) as pool:
            for event in pool.run(work.shards):
                handle(event, work)
                if isinstance(event, Committed):
                    devices.add(event.summary["device"])
    except KeyboardInterrupt:
        progress.log(resume_after(work))
        return INTERRUPTED
    except ClusterLostError as error:
        progress.log(f"{error}, and its workers with it; no shard is to blame.\n{resume_after(work)}")
        return INTERRUPTED
    except NoWorkerStartedError as error:
        done = f"{progress.done} of {progress.total} shards are committed in {run.url}."
        progress.log(f"{error}\n{done}\nRemove the cause, then go on. {same_command()}")
        return SOME_QUARANTINED
    return close(sweep, work)


def _configuration(sweep: Sweep, options: SweepOptions) -> str:
    """Return the resolved configuration on one line, without options that were left open."""
    resolved = options.model_dump(exclude_none=True, exclude={"plan", "config"}) | sweep.settings
    return " ".join(f"{name}={value}" for name, value in resolved.items() if not isinstance(value, dict))


def print_plan(sweep: Sweep, wanted: dict[str, Any], options: SweepOptions, run: RunDirectory) -> None:
    """Print what would run: the resolved configuration, shards, cells, bytes and, from a warm-up, the time."""
    for name, value in options.model_dump(exclude_none=True).items():
        print(f"{name}: {value}")
    for name, value in sweep.settings.items():
        print(f"settings.{name}: {value}")
    for note in sweep.notes:
        print(note)
    work, remaining = work_of(wanted, sweep, run), [0, 0]
    seconds, per_cell = 0.0, sweep.warm_up()
    for shard in work.shards:
        remaining[0] += 1
        remaining[1] += len(shard.cells)
        group = "".join(str(shard.axes[axis]) for axis in sweep.kinds.group[:1])
        seconds += len(shard.cells) * per_cell[group]
    workers = options.num_workers or 1
    print(f"shards: {work.progress.total}, of which {remaining[0]} remain")
    print(f"cells: {work.num_cells()}, of which {remaining[1]} remain")
    print(f"bytes: about {remaining[1] * sweep.bytes_per_cell:,} to write")
    print(f"time: about {seconds / workers:,.0f} s on {workers} such workers, from a warm-up on this machine")
    if work.failures.by_index:
        print(work.failures.describe())
