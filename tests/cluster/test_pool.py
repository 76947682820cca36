"""What a pool does while everything works: order, laziness, overlap, and how little the driver costs."""

import gc
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest

from cluster.pool import Committed, PoolOptions, Stalled

pytestmark = pytest.mark.usefixtures("local_cluster")


def test_every_shard_is_committed_exactly_once(work_through, shard, journal):
    events = work_through([shard(f"shard-{i}") for i in range(200)], num_workers=3)
    assert all(isinstance(event, Committed) and event.attempt == 1 for event in events)
    expected = sorted(f"shard-{i}" for i in range(200))
    assert sorted(event.shard.id for event in events) == expected
    assert sorted(journal.shards("committed")) == expected


def test_a_commit_returns_its_summary_its_worker_and_its_seconds(work_through, shard):
    [event] = work_through(
        [shard("one", compute=lambda: time.sleep(0.2) or 42, commit=lambda: time.sleep(0.1))]
    )
    assert event.summary["result"] == 42
    assert event.summary["attempt"] == event.attempt == 1
    assert event.worker.startswith("worker-")
    assert 0.3 <= event.seconds < 1.0


def test_a_pool_without_shards_ends_at_once(work_through):
    begin = time.monotonic()
    assert work_through([]) == []
    assert time.monotonic() - begin < 1.0


def test_a_pool_runs_again_with_the_same_workers(make_pool, shard):
    pool = make_pool(num_workers=1)
    pids = [event.summary["pid"] for run in range(2) for event in pool.run([shard(f"run-{run}")])]
    assert pids[0] == pids[1] != os.getpid()


def test_the_next_shard_computes_while_one_is_committed(work_through, shard, journal):
    shards = [
        shard(f"{i}", compute=lambda: time.sleep(0.2), commit=lambda: time.sleep(0.18)) for i in range(8)
    ]
    work_through(shards, num_workers=1)
    begins = [line.when for line in journal.lines("computing")]
    committed = [line.when for line in journal.lines("committed")]
    meanwhile = [begin < end for begin, end in zip(begins[1:], committed[:-1], strict=True)]
    assert sum(meanwhile) >= 5, "a device must not wait for the disk; a busy machine may be late now and then"


@pytest.mark.parametrize("num_shards", [2, pytest.param(3, marks=pytest.mark.long)])
def test_few_shards_are_shared_out_over_the_workers(num_shards, make_pool, shard, journal):
    """Also when one worker is ready before the others: it must not take what they will be idle for."""
    pool = make_pool(num_workers=num_shards)
    # None ends before each worker has one.
    shards = [shard(f"{i}", compute=lambda: journal.wait_for_workers(num_shards)) for i in range(num_shards)]
    workers = {event.worker for event in pool.run(shards) if isinstance(event, Committed)}
    assert len(workers) == num_shards


def test_a_worker_computes_one_shard_at_a_time_in_one_thread_and_in_order(work_through, shard, journal):
    def thread() -> int:
        import threading

        return threading.get_ident()

    events = work_through([shard(f"{i:02}", compute=thread) for i in range(20)], num_workers=1)
    assert len({event.summary["result"] for event in events}) == 1
    assert journal.shards("computing") == sorted(journal.shards("computing"))


def test_torch_computes_with_the_threads_it_was_given(make_pool, shard):
    class Counter:
        def __init__(self, _shared):
            import torch

            self.torch = torch

        def compute(self, shard):
            threads = self.torch.get_num_threads()
            self.torch.set_num_threads(1)  # whatever a job does, the next shard has its threads again
            return threads

        def commit(self, computed, attempt):
            return {"threads": computed, "environment": os.environ["OMP_NUM_THREADS"]}

    events = list(make_pool(Counter, num_workers=1, threads_per_worker=3).run([shard("a"), shard("b")]))
    assert [event.summary for event in events] == [{"threads": 3, "environment": "3"}] * 2


def test_the_shared_object_arrives_without_a_copy(make_pool, shard):
    class Holder:
        def __init__(self, weights):
            self.weights = weights["w"]

        def compute(self, shard):
            return not self.weights.flags.writeable and float(self.weights[-1])

        def commit(self, computed, attempt):
            return {"last": computed}

    pool = make_pool(Holder, {"w": np.arange(1_000_000, dtype=np.float32)})
    [event] = pool.run([shard("one")])
    assert event.summary["last"] == 999_999.0


@pytest.mark.long
def test_shards_are_pulled_one_by_one_and_at_most_two_are_in_flight_per_worker(make_pool):
    pulled = finished = most = 0

    def plan():
        nonlocal pulled
        for i in range(20_000):
            pulled += 1
            yield SimpleNamespace(id=f"{i}")

    for event in make_pool(lambda _: Idle(), None, num_workers=2).run(plan()):
        assert isinstance(event, Committed)
        finished += 1
        most = max(most, pulled - finished)
        if finished == 5_000:
            early = len(gc.get_objects())
    late = len(gc.get_objects())
    assert finished == pulled == 20_000
    # Four in flight, and as many again whose events wait for this loop while their successors are sent.
    assert most <= 2 * 4
    assert late - early < 2_000, "the driver's memory must not grow with the plan"


class Idle:
    def compute(self, shard):
        return None

    def commit(self, computed, attempt):
        return {}


def test_more_workers_than_the_cluster_holds_do_not_hold_up_those_that_are_ready(work_through, shard):
    events = work_through([shard(f"{i}") for i in range(10)], num_workers=9, cpus_per_worker=2.0)
    assert len(events) == 10
    assert len({event.summary["pid"] for event in events}) <= 2  # the cluster has four cores


def test_workers_share_a_unit_by_fractions(work_through, shard, journal):
    shards = [shard(f"{i}", compute=lambda: journal.wait_for_workers(4)) for i in range(8)]
    events = work_through(shards, num_workers=4, cpus_per_worker=0.5)
    assert len({event.summary["pid"] for event in events}) == 4


def test_a_pool_that_no_node_can_staff_says_what_it_waits_for(make_pool, shard):
    pool = make_pool(gpus_per_worker=1.0, stall_timeout=0.5)
    events = pool.run([shard("one")])
    stalled = next(events)
    assert isinstance(stalled, Stalled)
    assert stalled.seconds >= 0.5
    assert (
        "no worker is ready: each of 2 asks for 1 GPU, the cluster has 0 of 0 GPU free" in stalled.waiting_for
    )
    assert isinstance(next(events), Stalled)
    events.close()


def test_a_long_shard_is_named_by_the_watchdog(make_pool, shard, journal):
    pool = make_pool(num_workers=1, stall_timeout=1.0)
    events = []
    for event in pool.run([shard("slow", compute=lambda: journal.wait_for("named", "slow"))]):
        events.append(event)
        if isinstance(event, Stalled) and "worker-0 has had slow for 1 s" in event.waiting_for:
            journal.write("named", "slow")
    assert journal.shards("named") == ["slow"]
    assert isinstance(events[-1], Committed)


def test_closing_a_pool_ends_its_workers(make_pool, shard, is_gone):
    pool = make_pool()
    with pool:
        [event] = pool.run([shard("one")])
    assert is_gone(event.summary["pid"])


def test_leaving_the_events_early_ends_the_workers(make_pool, shard, journal, is_gone):
    events = make_pool(num_workers=1).run([shard("quick"), shard("endless", compute=lambda: time.sleep(600))])
    next(events)
    pid = journal.wait_for("computing", "endless").pid
    events.close()
    assert is_gone(pid)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_workers", 0),
        ("gpus_per_worker", 1.5),
        ("gpus_per_worker", -1.0),
        ("cpus_per_worker", -1.0),
        ("threads_per_worker", 0),
        ("max_attempts", 0),
        ("shard_timeout", 0.0),
        ("stall_timeout", -1.0),
    ],
)
def test_impossible_options_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field}.*{value}"):
        PoolOptions(**({"num_workers": 1} | {field: value}))
