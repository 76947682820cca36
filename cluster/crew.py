"""The pool's actors as the driver sees them: requested, starting, ready, lost."""

import time
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError, RayTaskError

from cluster.backlog import Task
from cluster.worker import Failed, Worker

# With two calls, a worker computes one shard while it writes the one before, or while the next one waits there.
MAX_CALLS_PER_WORKER = 2
MAX_SECONDS_BETWEEN_STARTS = 60.0


Ref = ray.ObjectRef[Any]


@dataclass(frozen=True, kw_only=True)
class WorkerResources:
    """The resources that each of `num_workers` actors asks of Ray, and the CPU threads that it computes with."""

    num_workers: int
    gpus_per_worker: float = 0.0
    cpus_per_worker: float = 1.0
    threads_per_worker: int = 1
    resources: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("num_workers", "threads_per_worker"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if self.cpus_per_worker < 0:
            raise ValueError(f"cpus_per_worker must not be negative, and is {self.cpus_per_worker!r}")
        gpus = self.gpus_per_worker
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise ValueError(f"gpus_per_worker must be a fraction below 1 or a whole number, not {gpus!r}")

    def request(self) -> dict[str, float]:
        """Return the resources of one actor under the names that the cluster uses."""
        asked = {"GPU": self.gpus_per_worker, "CPU": self.cpus_per_worker, **self.resources}
        return {name: amount for name, amount in asked.items() if amount}


@dataclass(frozen=True)
class Lost:
    """A worker that no longer answers; `node_lost` is true if its machine was lost too."""

    error: str
    node_lost: bool = False


@dataclass(eq=False)
class Member:
    """One actor. `since` is when it was asked for, or when its oldest call became the first in its queue.

    `placing` is the call that returns once a machine has room for the actor, `starting` the one that returns
    once its job is built. Each becomes None when it has returned.
    """

    name: str
    actor: ActorHandle[Worker]
    since: float
    placing: Ref | None
    starting: Ref | None
    turn: int = 0
    calls: dict[Ref, Task] = field(default_factory=dict)

    def accepts(self, *, suspects_wait: bool) -> bool:
        """Return whether it may be sent a task now. While suspects wait, a worker gets no second call."""
        if self.starting is not None or any(task.alone for task in self.calls.values()):
            return False
        return len(self.calls) < (1 if suspects_wait else MAX_CALLS_PER_WORKER)


class Crew:
    """The actors of a pool. Those that the cluster cannot place yet are its demand for autoscaling."""

    def __init__(self, factory_ref: Ref, shared_ref: Ref, resources: WorkerResources) -> None:
        self._payload = (factory_ref, shared_ref)
        self._resources = resources
        # Ray gives an actor class its `remote` at run time, where no type checker sees it.
        self._actor_class: Any = ray.remote(Worker).options(
            num_cpus=resources.cpus_per_worker,
            num_gpus=resources.gpus_per_worker,
            resources=dict(resources.resources),
            max_concurrency=MAX_CALLS_PER_WORKER,
            max_restarts=0,
            max_task_retries=0,
        )
        self._names = 0
        self._next_start = 0.0
        self.failed_starts = 0  # in a row
        self.members: list[Member] = []
        self.owners: dict[Ref, Member] = {}

    def recruit(self) -> None:
        """Ask for the actors that are missing. After failed starts it waits, longer after each."""
        now = time.monotonic()
        if now < self._next_start:
            return
        while len(self.members) < self._resources.num_workers:
            actor = self._actor_class.remote(self._resources.threads_per_worker)
            placing, starting = actor.place.remote(), actor.start.remote(*self._payload)
            member = Member(f"worker-{self._names}", actor, now, placing, starting)
            self._names += 1
            self.members.append(member)
            self.owners[placing] = self.owners[starting] = member

    def place(self, member: Member) -> None:
        """Record that a worker has a machine, on which it now builds its job."""
        assert member.placing is not None
        del self.owners[member.placing]
        member.placing = None

    def admit(self, member: Member) -> None:
        """Record that a worker has built its job and is ready."""
        for ref in (member.placing, member.starting):
            if ref is not None:
                del self.owners[ref]
        member.placing = member.starting = None
        member.since = time.monotonic()
        self.failed_starts = 0

    def reject(self, member: Member) -> None:
        """Remove a worker that could not build its job. Each failure in a row doubles the pause before a start."""
        self.dismiss(member)
        self.failed_starts += 1
        delay = min(2.0 ** (self.failed_starts - 1), MAX_SECONDS_BETWEEN_STARTS)
        self._next_start = time.monotonic() + delay

    def send(self, member: Member, task: Task) -> None:
        """Send a worker a task; it queues behind the one that the worker may have."""
        if not member.calls:
            member.since = time.monotonic()
        ref: Ref = member.actor.work.remote(task.shard, task.attempt, member.turn)
        member.turn += 1
        member.calls[ref] = task
        self.owners[ref] = member

    def complete(self, ref: Ref) -> Task:
        """Forget a call that has answered, and return its task. The clock of the call behind it starts now."""
        member = self.owners.pop(ref)
        member.since = time.monotonic()
        return member.calls.pop(ref)

    def dismiss(self, member: Member) -> list[Task]:
        """Kill a worker and forget it. Return the tasks that it had in flight, oldest first."""
        self.members.remove(member)
        for ref in [*member.calls, member.placing, member.starting]:
            if ref is not None:
                del self.owners[ref]
        ray.kill(member.actor)
        return list(member.calls.values())

    def wait(self, timeout: float) -> list[tuple[Ref, Any]]:
        """Return all answers that have arrived. Waits at most `timeout` seconds for the first one."""
        refs = list(self.owners)
        if not refs:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(refs, num_returns=1, timeout=timeout, fetch_local=False)
        if ready and len(refs) > 1:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        return list(zip(ready, _fetch(ready), strict=True))

    @property
    def has_hope(self) -> bool:
        """True if a worker is ready, or has a machine and is building its job there."""
        return any(member.starting is None or member.placing is None for member in self.members)

    @property
    def num_without_calls(self) -> int:
        """Number of workers without a call, those that are still starting included."""
        return sum(not member.calls for member in self.members)

    def describe(self) -> str:
        """Describe in words what the crew waits for."""
        now = time.monotonic()
        busy = [member for member in self.members if member.calls]
        if busy:
            return "; ".join(_describe_calls(member, now) for member in busy)
        asked = self._resources.request()
        wish = " and ".join(f"{amount:g} {name}" for name, amount in asked.items()) or "nothing"
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        stock = " and ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}" for name in asked)
        state = f"no worker is ready: each of {self._resources.num_workers} asks for {wish}"
        state += f", the cluster has {stock} free" if stock else ""
        return state + (f"; {self.failed_starts} could not start" if self.failed_starts else "")

    def forget(self) -> None:
        """Forget all actors without a word to them: Ray can no longer reach any."""
        self.members.clear()
        self.owners.clear()

    def close(self) -> None:
        """Kill every actor; their tasks in flight are lost. Does nothing if Ray has been shut down."""
        for member in list(self.members) if ray.is_initialized() else []:
            self.dismiss(member)


def _describe_calls(member: Member, now: float) -> str:
    shards = ", ".join(task.shard.id for task in member.calls.values())
    return f"{member.name} has had {shards} for {now - member.since:.0f} s"


def _fetch(refs: list[Ref]) -> list[Any]:
    try:
        return list(ray.get(refs))
    except RayError:  # at least one failed: fetch one by one, which is slower
        return [_fetch_one(ref) for ref in refs]


def _fetch_one(ref: Ref) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:  # the shard, or what the job returned, could not be pickled
        return Failed(str(error))
    except RayActorError as error:  # dead or unreachable: both are given up, and their tasks run elsewhere
        return Lost(str(error), node_lost="node has died" in str(error))
    except RayError as error:
        return Failed(str(error))
