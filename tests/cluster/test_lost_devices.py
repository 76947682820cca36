"""Whether a worker gives its device up after an error: the device is asked, not the error's words alone."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from cluster import worker as worker_module
from cluster.worker import Failed, Worker

ILLEGAL = "CUDA error: an illegal memory access was encountered"


class FailingJob:
    """Raises the error, in `compute` or in `commit`."""

    def __init__(self, error: Exception, where: str) -> None:
        self.error, self.where = error, where

    def compute(self, shard: Any) -> Any:
        if self.where == "compute":
            raise self.error

    def commit(self, computed: Any, attempt: int) -> dict[str, Any]:
        raise self.error


class WorkerThatStays(Worker):
    def _retire(self) -> None:
        self._broken = True  # and no timer that ends the process


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(worker_module, "keep_freed_memory", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    worker = WorkerThatStays(torch.get_num_threads())
    yield worker
    worker._compute_thread.shutdown()


def lost() -> None:
    raise RuntimeError(ILLEGAL)


def alive() -> None:
    pass


CASES: dict[str, tuple[Exception, str, Any, bool]] = {
    "words of a lost device, without one to ask": (RuntimeError(ILLEGAL), "compute", None, True),
    "other words, without one to ask": (RuntimeError("shapes"), "compute", None, False),
    "an error that passes": (RuntimeError("CUDA error: invalid argument"), "compute", alive, False),
    "memory": (torch.OutOfMemoryError("CUDA out of memory"), "compute", alive, False),
    "a lost device": (RuntimeError(ILLEGAL), "compute", lost, True),
    "a lost device in a library's words": (ValueError("handle is invalid"), "compute", lost, True),
    "a lost device seen while writing": (RuntimeError(ILLEGAL), "commit", lost, True),
    "a disk, while another shard computes": (OSError("full"), "commit", lost, False),
}


@pytest.mark.parametrize("case", CASES)
def test_a_device_is_lost_if_it_no_longer_answers(
    case: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, where, synchronize, broken = CASES[case]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: synchronize is not None)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    assert worker.start(lambda shared: FailingJob(error, where), None) is None
    answer = worker.work("shard", 1, 0)
    assert isinstance(answer, Failed)
    assert answer.broken is broken
