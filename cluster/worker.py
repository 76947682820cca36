"""The part of the pool that runs in an actor: one job, which holds a model, and the shards that it is sent."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.process_memory import keep_freed_memory

# The driver kills a broken worker as soon as it is told. Without a driver the worker ends itself after this.
SECONDS_TO_LIVE_WHEN_BROKEN = 10.0
# A call whose predecessor never arrives, because its shard could not be unpickled, starts after this.
SECONDS_TO_WAIT_FOR_TURN = 1.0
# What wrong values and mistakes in code raise, and no disk, network or device does. Subclasses do not count: a
# library's own ValueError may be about a file that was read by halves, or about this machine.
PERMANENT = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
)


class Job(Protocol):
    """The work that a sweep does for each shard. A job lives in one actor and holds a model.

    A job may have a method `prefetch(shard)`, which is told each shard when it begins to wait for its computation.
    """

    def compute(self, shard: Any) -> Any:
        """Do the shard's work on the device. All computations of a worker run in the same thread."""
        ...

    def commit(self, computed: Any, attempt: int) -> dict[str, Any]:
        """Write what `compute` returned, and return a small summary. The next shard computes meanwhile."""
        ...


JobFactory = Callable[[Any], Job]


@dataclass(frozen=True)
class Done:
    summary: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A job raised. `broken` says that the process cannot be used again: its device's context is lost.

    `permanent` says that another try would fail alike.
    """

    error: str
    broken: bool = False
    permanent: bool = False


class Worker:
    """The actor. It needs Ray's `max_concurrency=2`, so that it writes one shard while the next computes.

    One thread does all computing, because OpenMP's thread count, CUDA's current device and captured graphs
    belong to a thread. Ray's two threads may reach it in any order. So each call carries its turn: the driver
    times the oldest of a worker's shards, and relies on their order.
    """

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._broken = False
        self._job: Job | None = None
        self._turn = 0
        self._turns = threading.Condition()
        keep_freed_memory()
        self._compute_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        # Ray's launcher sets this to the actor's CPUs, or to 1. OpenMP reads it when it is loaded.
        os.environ["OMP_NUM_THREADS"] = str(num_threads)

    def place(self) -> None:
        """Answer as soon as the actor has a machine, before it builds its job."""

    def start(self, factory: JobFactory, shared: Any) -> Failed | None:
        """Build the job. Numpy arrays in `shared` are read-only views into Ray's object store."""
        try:
            self._job = self._compute_thread.submit(factory, shared).result()
        except Exception:
            return Failed(traceback.format_exc())
        return None

    def work(self, shard: Any, attempt: int, turn: int) -> Done | Failed:
        """Compute and commit one shard. What the job raises is returned as a `Failed`."""
        assert self._job is not None
        try:
            computed, begin = self._enqueue(shard, turn).result()
        except Exception as error:
            return self._failed(error)
        try:
            summary = self._job.commit(computed, attempt)
        except Exception as error:
            # By its words alone: the other thread may be capturing a graph, which a probe from here would end.
            if breaks_device(error) and not self._broken:
                self._retire()
            return self._failed(error)
        return Done(summary, time.monotonic() - begin)

    def _failed(self, error: Exception) -> Failed:
        return Failed(traceback.format_exc(), broken=self._broken, permanent=is_permanent(error))

    def _enqueue(self, shard: Any, turn: int) -> Future[tuple[Any, float]]:
        with self._turns:
            self._turns.wait_for(lambda: self._turn == turn, SECONDS_TO_WAIT_FOR_TURN)
            self._turn = turn + 1
            self._turns.notify_all()
            if prefetch := getattr(self._job, "prefetch", None):
                prefetch(shard)
            return self._compute_thread.submit(self._compute, shard)

    def _compute(self, shard: Any) -> tuple[Any, float]:
        assert self._job is not None
        if self._broken:  # the next shard is not to blame: it waits for the end here, then runs elsewhere
            time.sleep(2 * SECONDS_TO_LIVE_WHEN_BROKEN)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(self._num_threads)
        begin = time.monotonic()
        try:
            return self._job.compute(shard), begin
        except Exception as error:
            answers = device_answers()
            if breaks_device(error) if answers is None else not answers:
                self._retire()  # in this thread, before it takes the next shard
            raise

    def _retire(self) -> None:
        self._broken = True
        end = threading.Timer(SECONDS_TO_LIVE_WHEN_BROKEN, os._exit, args=(1,))
        end.daemon = True
        end.start()


def is_permanent(error: BaseException) -> bool:
    """Return whether the same shard would raise this error again: it and all that caused it are of `PERMANENT`.

    One cause of another kind, such as an OSError behind a ValueError, leaves hope that a later try succeeds.
    """
    cause: BaseException | None = error
    while cause is not None:
        if type(cause) not in PERMANENT:
            return False
        cause = cause.__cause__ or cause.__context__
    return True


def device_answers() -> bool | None:
    """Return whether the GPU still answers this process, and None if the process has used none.

    After an illegal access or a failed assertion on the device, every later CUDA call of the process fails. Words
    do not say it for certain: some errors that name CUDA pass, and a library may have its own words for one that
    stays.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    try:
        torch.cuda.synchronize()
    except Exception:
        return False
    return True


def breaks_device(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, says that the process has lost its accelerator.

    An allocator that is out of memory (`torch.OutOfMemoryError`) stays usable.
    """
    while error is not None:
        name, text = type(error).__name__, str(error)
        if name == "AcceleratorError" or (isinstance(error, RuntimeError) and "CUDA error" in text):
            return True
        error = error.__cause__ or error.__context__
    return False
