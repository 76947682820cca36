"""What came of a run: each event as it happens, the last words, and the exit status."""

import contextlib

from obstore.exceptions import BaseError

from cluster.pool import Committed, Quarantined, Stalled, WorkerLost, headline
from sweeps.cli import same_command
from sweeps.progress import Progress
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep
from sweeps.work import Work, tables_of

SOME_QUARANTINED = 1


def close(sweep: Sweep, work: Work) -> int:
    """Say what came of the run, close the directory if all of it is complete, and return the exit status."""
    run, progress = work.run, work.progress
    if progress.quarantined:
        progress.log(f"{len(progress.quarantined)} shards are quarantined in {run.url}/failures/:")
        progress.log("\n".join(f"  {shard}" for shard in progress.quarantined))
        progress.log(f"Remove the cause that their files there name, then try them again. {same_command()}")
    if work.failures.by_index:
        progress.log(
            f"{progress.done} of {progress.total} shards are committed in {run.url}.\n"
            f"{work.failures.describe()}\n"
            "All others of these shards have their rows. Repair these images and type the same command, which "
            f"then computes them alone. {same_command()}"
        )
    if progress.quarantined or work.failures.by_index:
        return SOME_QUARANTINED
    _finish(sweep, run, progress)
    return 0


def handle(event: Committed | Quarantined | WorkerLost | Stalled, work: Work) -> None:
    """Count an event, record a failure in the directory, and tell the user of what went wrong."""
    run, progress = work.run, work.progress
    match event:
        case Committed():
            run.clear_failure(event.shard.id)
            work.failures.add(event.summary.get("failed_images", ()))
            progress.commit(event.worker, event.summary["cells"], event.shard.id)
        case Quarantined():
            progress.quarantine(event.shard.id)
            tries = f"{event.attempts} attempts"
            if event.permanent:
                tries = f"attempt {event.attempts}, and is not tried again, since it would fail alike"
            progress.log(f"quarantined {event.shard.id} after {tries}: {headline(event.error)}")
            _record_failure(event, run, progress)
        case WorkerLost():
            progress.log(f"lost worker {event.worker}: {headline(event.error)}; its shards are requeued")
        case Stalled():
            progress.log(f"nothing happened for {event.seconds:.0f} s: {event.waiting_for}")


def _record_failure(event: Quarantined, run: RunDirectory, progress: Progress) -> None:
    """Write it to failures/. What stopped the shard, such as a full disk, may stop this too."""
    try:
        run.quarantine(event.shard.id, {"attempts": event.attempts, "traceback": event.error})
    except (OSError, BaseError) as error:
        progress.log(f"{run.url}/failures/ cannot be written: {error}")


def _finish(sweep: Sweep, run: RunDirectory, progress: Progress) -> None:
    """Write _SUCCESS if not only this request is complete but all that the directory was ever asked for."""
    progress.log(f"All {progress.done} shards are committed in {run.url}")
    # Another driver may have asked for more meanwhile, and one that was killed may have left a failure.
    record_now = run.read_sweep()
    assert record_now is not None, run.url
    tables = tables_of(record_now, sweep.kinds, run)
    committed = {shard_id for table in tables for shard_id in table.run.committed()}
    for shard_id in run.failures():
        if shard_id in committed:
            run.clear_failure(shard_id)
    if run.succeeded():
        return
    if all(table.is_complete(committed) for table in tables):
        run.mark_success()
        run.clear_failed_images()
    else:
        progress.log("The directory was asked for more by other commands, and that is not complete yet.")


def how_to_resume(progress: Progress, run: RunDirectory) -> str:
    """Return the message that tells the user how to resume."""
    done = f"{progress.done} of {progress.total} shards are committed in {run.url}"
    return f"Interrupted: {done}.\n{same_command()}"


def resume_after(work: Work) -> str:
    """Return that message with what is on the disk by now."""
    # Who interrupts again, or has lost the store, is told what was last known.
    with contextlib.suppress(KeyboardInterrupt, OSError, BaseError):
        work.count_again()
    return how_to_resume(work.progress, work.run)
