"""A pool of actors that works through shards. Each actor holds a job; the death of any of them loses no shard."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import ray

from cluster.backlog import Backlog
from cluster.crew import MAX_CALLS_PER_WORKER, Crew, Lost, Member, WorkerResources
from cluster.events import Committed, Event, HasId, Quarantined, Stalled, WorkerLost, headline
from cluster.session import raylet_answers
from cluster.worker import Done, Failed, Job, JobFactory

__all__ = [
    "ClusterLostError",
    "Committed",
    "Event",
    "HasId",
    "Job",
    "JobFactory",
    "NoWorkerStartedError",
    "Pool",
    "PoolOptions",
    "Quarantined",
    "Stalled",
    "WorkerLost",
    "headline",
]

# How often the dispatcher looks at its clocks when nothing happens.
SECONDS_BETWEEN_CHECKS = 0.5

Log = Callable[[str], None]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PoolOptions(WorkerResources):
    """The workers of a pool, and its time limits.

    A shard is quarantined after `max_attempts` tries, or after one that failed as all others would. A worker may
    take `shard_timeout` seconds to compute and write one shard; None sets no limit. After `stall_timeout` seconds
    in which nothing happened, a `Stalled` event says what the pool waits for.
    """

    max_attempts: int = 3
    shard_timeout: float | None = None
    stall_timeout: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts!r}")
        for name in ("shard_timeout", "stall_timeout"):
            seconds = getattr(self, name)
            if seconds is not None and seconds <= 0:
                raise ValueError(f"{name} must be a positive number of seconds, not {seconds!r}")


class NoWorkerStartedError(RuntimeError):
    """No worker is ready or building its job, and the last few could not build theirs."""


class ClusterLostError(RuntimeError):
    """Ray's own process on the driver's machine has died, so that no worker can be reached or started any more."""


class Pool:
    """A crew of actors and the dispatcher that sends them shards. Close it, or use it in a `with` statement.

    Each actor calls `factory(shared)`. Ray's object store copies `shared` once to each node. `log` gets a line
    for each shard that failed and is tried again, which is no event.
    """

    def __init__(
        self, factory: JobFactory, shared: Any, options: PoolOptions, *, log: Log | None = None
    ) -> None:
        if not ray.is_initialized():  # Ray would start or join some cluster of its own choice
            raise RuntimeError("a pool needs a connection to Ray: open it inside cluster.session.connect()")
        self._options = options
        self._log = log or _logger.info
        self._crew = Crew(ray.put(factory), ray.put(shared), options)
        self._crew.recruit()
        self._lost_a_worker = False

    def run(self, shards: Iterable[HasId]) -> Iterator[Event]:
        """Yield an event for every shard, and for what goes wrong, in the order in which they happen.

        Shards are pulled one by one, when workers can take them. Each is committed or quarantined exactly once.
        Raises NoWorkerStartedError when the job cannot be built, and ClusterLostError when Ray itself has died on
        this machine. Leaving the iterator early closes the pool.
        """
        backlog = Backlog(shards, self._options.max_attempts)
        finished = False
        try:
            yield from self._dispatch(backlog)
            finished = True
        finally:
            if not finished:
                self.close()

    def close(self) -> None:
        """Kill the actors. Shards in flight may or may not have been committed."""
        self._crew.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _dispatch(self, backlog: Backlog) -> Iterator[Event]:
        quiet_since = time.monotonic()
        self._assign(backlog)
        while True:
            self._crew.recruit()
            if backlog.is_empty and not any(member.calls for member in self._crew.members):
                return
            ready_before = self._num_ready()
            events = self._collect(backlog)
            self._lost_a_worker |= any(isinstance(event, WorkerLost) for event in events)
            # Workers die with their raylet, before Ray notices that the raylet has. Then it ends this process.
            if self._lost_a_worker and not raylet_answers():
                self._crew.forget()
                raise ClusterLostError("Ray's process on this machine, the raylet, has died")
            self._assign(backlog)  # before the caller is given the events, so that no worker waits for it
            yield from events
            if events or self._num_ready() > ready_before:
                quiet_since = time.monotonic()
            elif (quiet := time.monotonic() - quiet_since) >= self._options.stall_timeout:
                yield Stalled(self._crew.describe(), quiet)
                quiet_since = time.monotonic()

    def _num_ready(self) -> int:
        return sum(member.starting is None for member in self._crew.members)

    def _assign(self, backlog: Backlog) -> None:
        """Send tasks to the workers that can take one.

        The first round gives each idle worker a task, the second round gives busy workers one that queues
        behind the first. At the end of a sweep the second round must not take what another worker could begin
        at once: a slow shard in front would delay it while that worker is idle. So a task queues only if the
        backlog holds one more than there are workers without a task. Workers that are still starting count
        here, because they will be idle soon.
        """
        for num_calls in range(MAX_CALLS_PER_WORKER):
            for member in self._crew.members:
                if len(member.calls) != num_calls or not member.accepts(suspects_wait=backlog.has_suspects):
                    continue
                if num_calls and not backlog.holds(1 + self._crew.num_without_calls):
                    return
                task = backlog.take(idle=not member.calls)
                if task is not None:
                    self._crew.send(member, task)

    def _collect(self, backlog: Backlog) -> list[Event]:
        events: list[Event] = []
        for ref, answer in self._crew.wait(SECONDS_BETWEEN_CHECKS):
            member = self._crew.owners.get(ref)
            if member is None:  # an answer before this one had its worker dismissed
                continue
            if ref == member.placing and answer is None:
                self._crew.place(member)
            elif ref in (member.placing, member.starting):
                events += self._on_start(member, answer)
            elif isinstance(answer, Lost):
                events += self._on_lost(member, answer, backlog)
            else:
                events += self._on_answer(member, ref, answer, backlog)
        return events + self._end_overdue(backlog)

    def _on_start(self, member: Member, answer: Failed | Lost | None) -> list[Event]:
        if answer is None:
            self._crew.admit(member)
            _logger.info("%s is ready", member.name)
            return []
        if isinstance(answer, Lost) and answer.node_lost:
            self._crew.dismiss(member)
            return [WorkerLost(member.name, answer.error)]
        self._crew.reject(member)
        if self._crew.failed_starts >= self._options.max_attempts and not self._crew.has_hope:
            raise NoWorkerStartedError(
                f"{self._crew.failed_starts} workers in a row could not start, the last one: {answer.error}"
            )
        return [WorkerLost(member.name, answer.error)]

    def _on_answer(
        self, member: Member, ref: ray.ObjectRef[Any], answer: Done | Failed, backlog: Backlog
    ) -> list[Event]:
        task = self._crew.complete(ref)
        if isinstance(answer, Done):
            return [Committed(task.shard, task.attempt, answer.summary, member.name, answer.seconds)]
        verdict = backlog.fail(task, answer.error, permanent=answer.permanent)
        if verdict is None:
            self._log(
                f"{task.shard.id} failed in attempt {task.attempt} and runs again: {headline(answer.error)}"
            )
        events: list[Event] = [verdict] if verdict else []
        if answer.broken:  # the shard behind is not to blame
            for other in self._crew.dismiss(member):
                backlog.put_back(other)
            events.append(WorkerLost(member.name, answer.error))
        return events

    def _on_lost(self, member: Member, answer: Lost, backlog: Backlog) -> list[Event]:
        tasks = self._crew.dismiss(member)
        lose = backlog.lose_node if answer.node_lost else backlog.lose_worker
        return [WorkerLost(member.name, answer.error), *lose(tasks, answer.error)]

    def _end_overdue(self, backlog: Backlog) -> list[Event]:
        events: list[Event] = []
        limit = self._options.shard_timeout
        for member in list(self._crew.members):
            seconds = time.monotonic() - member.since
            if limit is None or not member.calls or seconds < limit:
                continue
            tasks = self._crew.dismiss(member)
            shards = ", ".join(task.shard.id for task in tasks)
            error = f"{member.name} hung: {shards} after {seconds:.1f} s, shard_timeout is {limit:g} s"
            events += [WorkerLost(member.name, error), *backlog.lose_worker(tasks, error)]
        return events
