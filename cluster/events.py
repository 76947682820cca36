"""Events that a pool yields to its caller while it works."""

import textwrap
from dataclasses import dataclass
from typing import Any, Protocol


class HasId(Protocol):
    """A shard, as the pool sees it: a picklable object with a name."""

    @property
    def id(self) -> str: ...


@dataclass(frozen=True)
class Committed:
    """A shard was computed and written. `summary` is what the job's commit returned.

    `attempt` counts from 1. `seconds` is the time that the worker took to compute and write the shard, without
    the time that the shard queued there.
    """

    shard: HasId
    attempt: int
    summary: dict[str, Any]
    worker: str
    seconds: float


@dataclass(frozen=True)
class Quarantined:
    """A shard was given up after `attempts` tries. `error` is the last traceback, or Ray's report of a death.

    `permanent` says that further tries were left out, since they would have failed alike.
    """

    shard: HasId
    attempts: int
    error: str
    permanent: bool = False


@dataclass(frozen=True)
class WorkerLost:
    """A worker died, could not start, or was killed because its shard hung; another one replaces it."""

    worker: str
    error: str


@dataclass(frozen=True)
class Stalled:
    """Nothing has happened for `seconds`. `waiting_for` says in words what the pool waits for."""

    waiting_for: str
    seconds: float


Event = Committed | Quarantined | WorkerLost | Stalled


def headline(error: str) -> str:
    """Return the line of an event's `error` that says what happened, at most 200 characters of it.

    In a traceback that is the first line below the stack: messages may run on for many lines, such as the
    debug source that obstore appends. Without a stack, as in Ray's account of a dead actor, it is the last.
    """
    lines = error.strip().splitlines() or ["no reason given"]
    frames = [index for index, line in enumerate(lines) if line.lstrip().startswith('File "')]
    below = [line for line in lines[frames[-1] :] if not line.startswith(" ")] if frames else []
    return textwrap.shorten(below[0] if below else lines[-1], 200, placeholder=" ...")
