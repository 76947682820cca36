"""A job hears of a shard as soon as it waits for its computation, if it wants to."""

import threading
from typing import Any

import pytest

from cluster.worker import Done, Worker


class Slow:
    """Computes until it is released; notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.second, self.release = threading.Event(), threading.Event()

    def prefetch(self, shard: str) -> None:
        self.told.append(shard)
        if len(self.told) == 2:
            self.second.set()

    def compute(self, shard: str) -> str:
        assert self.release.wait(20)
        return shard

    def commit(self, computed: str, attempt: int) -> dict[str, Any]:
        return {"shard": computed}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the worker sets it for its process, which is ours here
    return Worker(1)


def test_the_next_shard_is_told_while_the_first_computes(worker: Worker) -> None:
    job = Slow()
    assert worker.start(lambda _: job, None) is None
    done: list[object] = []
    calls = [
        threading.Thread(target=lambda turn=turn, shard=shard: done.append(worker.work(shard, 1, turn)))
        for turn, shard in enumerate(("first", "second"))
    ]
    for call in calls:
        call.start()
    told_in_time = job.second.wait(20)
    job.release.set()
    for call in calls:
        call.join()
    assert told_in_time
    assert job.told == ["first", "second"]
    assert all(isinstance(each, Done) for each in done), done
