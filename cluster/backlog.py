"""The queue of shards for the workers: new ones, pulled from the plan one by one, and those that run again."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from cluster.events import HasId, Quarantined

# Machines come and go, and no shard is to blame. A shard that has lost this many of them may be the cause.
MAX_NODES_LOST = 10


@dataclass(eq=False)
class Task:
    """A shard and its history. `attempt` counts its tries from 1; `failures` are certainly its own.

    If a worker dies or hangs with two shards in flight, nobody knows which of them is the cause. Both become
    suspects and run `alone` from then on. A shard with which a worker dies while it runs alone is the cause.
    """

    shard: HasId
    attempt: int = 0
    failures: int = 0
    suspicions: int = 0
    nodes_lost: int = 0
    alone: bool = False


class Backlog:
    """A queue of tasks, those that run again first. It decides when a shard has failed for good."""

    def __init__(self, shards: Iterable[HasId], max_attempts: int) -> None:
        self._shards = iter(shards)
        self._max_attempts = max_attempts
        self._again: deque[Task] = deque()
        self._suspects: deque[Task] = deque()
        self._exhausted = False
        # Pull one shard now, so that an empty plan ends at once, before any worker is ready.
        if (first := self._pull()) is not None:
            self.put_back(first)

    @property
    def has_suspects(self) -> bool:
        """True if a suspect waits for an idle worker; other workers should then finish their calls first."""
        return bool(self._suspects)

    @property
    def is_empty(self) -> bool:
        """True if no task waits and the plan is at its end."""
        return self._exhausted and not self._again and not self._suspects

    def take(self, *, idle: bool) -> Task | None:
        """Return the next task and count the attempt, or None. Only an `idle` worker gets a suspect."""
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
        """Return whether at least `count` tasks wait. Pulls no more of the plan than it needs to know."""
        while len(self._again) + len(self._suspects) < count and (pulled := self._pull()) is not None:
            self._again.append(pulled)
        return len(self._again) + len(self._suspects) >= count

    def put_back(self, task: Task) -> None:
        """Queue a task again that is not to blame."""
        (self._suspects if task.alone else self._again).append(task)

    def fail(self, task: Task, error: str, *, permanent: bool = False) -> Quarantined | None:
        """Count a failure of the task itself, then queue it again or give it up, at once if it is `permanent`."""
        task.failures += 1
        if permanent:
            return Quarantined(task.shard, task.attempt, error, permanent=True)
        return self._again_or_quarantine(task, task.failures, error)

    def lose_worker(self, tasks: list[Task], error: str) -> list[Quarantined]:
        """Count the death or the hanging of the worker that had `tasks` in flight."""
        # With one task, that task is the cause. With two, both are only suspected: neither is quarantined for
        # this death, but each suspicion counts once the task runs alone.
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
        """Count the loss of a whole machine, for which a shard is rarely to blame."""
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
