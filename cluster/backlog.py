"""The shards that wait for a worker: the plan's, pulled one by one, and those that must run again."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from cluster.events import HasId, Quarantined

# Machines come and go without a shard's fault. One that outlives this many of them takes them down.
MAX_NODES_LOST = 10


@dataclass(eq=False)
class Task:
    """A shard and its history. `attempt` counts its tries from 1; `failures` are certainly its own.

    A worker that dies or hangs with two shards in flight tells not which of them did it: both are suspects
    and run `alone` from then on, where the next death is certain.
    """

    shard: HasId
    attempt: int = 0
    failures: int = 0
    suspicions: int = 0
    nodes_lost: int = 0
    alone: bool = False


class Backlog:
    """Hands out tasks, those that run again first, and decides when a shard has failed for good."""

    def __init__(self, shards: Iterable[HasId], max_attempts: int) -> None:
        self._shards = iter(shards)
        self._max_attempts = max_attempts
        self._again: deque[Task] = deque()
        self._suspects: deque[Task] = deque()
        self._exhausted = False
        # Known at once, before any worker is ready: whether there is work at all.
        if (first := self._pull()) is not None:
            self.put_back(first)

    @property
    def has_suspects(self) -> bool:
        """Whether a shard waits for a worker of its own, so that workers should run empty."""
        return bool(self._suspects)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, as far as the plan has been pulled."""
        return self._exhausted and not self._again and not self._suspects

    def take(self, *, idle: bool) -> Task | None:
        """The next task for a worker, begun; None if there is none. Only an `idle` one is sent a suspect."""
        if idle and self._suspects:
            task = self._suspects.popleft()
        elif self._again:
            task = self._again.popleft()
        elif (pulled := self._pull()) is not None:
            task = pulled
        else:
            return None
        task.attempt += 1
        return task

    def holds(self, count: int) -> bool:
        """Whether at least `count` tasks wait; no more of the plan is pulled than it takes to know."""
        while len(self._again) + len(self._suspects) < count and (pulled := self._pull()) is not None:
            self._again.append(pulled)
        return len(self._again) + len(self._suspects) >= count

    def put_back(self, task: Task) -> None:
        """Run a task again that is not to blame."""
        (self._suspects if task.alone else self._again).append(task)

    def fail(self, task: Task, error: str) -> Quarantined | None:
        """Count a failure of the task's own: run it again, or give it up."""
        task.failures += 1
        return self._again_or_quarantine(task, task.failures, error)

    def lose_worker(self, tasks: list[Task], error: str) -> list[Quarantined]:
        """Count the death, or the hanging, of the worker that had `tasks` in flight."""
        certain = len(tasks) == 1
        for task in tasks:
            task.alone = True
            task.suspicions += 1
            if not certain:
                self.put_back(task)
        if not certain:
            return []
        verdict = self._again_or_quarantine(tasks[0], tasks[0].failures + tasks[0].suspicions, error)
        return [verdict] if verdict else []

    def lose_node(self, tasks: list[Task], error: str) -> list[Quarantined]:
        """Count the loss of a whole machine, which is rarely a shard's doing."""
        verdicts = []
        for task in tasks:
            task.nodes_lost += 1
            if task.nodes_lost > MAX_NODES_LOST:
                verdicts.append(Quarantined(task.shard, task.attempt, error))
            else:
                self.put_back(task)
        return verdicts

    def _again_or_quarantine(self, task: Task, failures: int, error: str) -> Quarantined | None:
        if failures >= self._max_attempts:
            return Quarantined(task.shard, task.attempt, error)
        self.put_back(task)
        return None

    def _pull(self) -> Task | None:
        shard = None if self._exhausted else next(self._shards, None)
        self._exhausted = shard is None
        return None if shard is None else Task(shard)
