"""What a pool does when shards raise, hang or kill, and when workers die or cannot start."""

import os
import signal
import time

import pytest

from cluster.pool import Committed, NoWorkerStartedError, Quarantined, WorkerLost

pytestmark = pytest.mark.usefixtures("local_cluster")


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def committed(events):
    return sorted(event.shard.id for event in of(Committed, events))


def test_a_shard_that_raises_is_tried_again_then_quarantined_and_the_rest_finishes(
    work_through, shard, journal
):
    def fail():
        raise ArithmeticError("no gradient")

    shards = [shard("good-0"), shard("bad", compute=fail), *(shard(f"good-{i}") for i in range(1, 6))]
    events = work_through(shards, max_attempts=3)
    [quarantined] = of(Quarantined, events)
    assert (quarantined.shard.id, quarantined.attempts) == ("bad", 3)
    assert "Traceback" in quarantined.error
    assert "ArithmeticError: no gradient" in quarantined.error
    assert journal.shards("computing").count("bad") == 3
    assert committed(events) == [f"good-{i}" for i in range(6)]
    assert not of(WorkerLost, events), "an exception costs no worker"


def test_a_shard_that_fails_once_is_committed_in_its_second_attempt(work_through, shard, tmp_path):
    def fail_once():
        (tmp_path / "tried").touch(exist_ok=(tmp_path / "again").exists())
        if not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            raise ConnectionError("the bucket is away")

    [event] = work_through([shard("flaky", commit=fail_once)])
    assert event.attempt == event.summary["attempt"] == 2


def test_an_error_that_would_be_the_same_again_is_not_tried_again(work_through, shard, journal):
    def fail():
        raise ValueError("epsilon: 2 is not accepted")

    def fail_for_a_disk():
        try:
            raise OSError("the disk is away")
        except OSError as error:
            raise ValueError("cannot be read") from error

    events = work_through(
        [shard("wrong", compute=fail), shard("away", compute=fail_for_a_disk)], max_attempts=2
    )
    found = {event.shard.id: (event.attempts, event.permanent) for event in of(Quarantined, events)}
    assert found == {"wrong": (1, True), "away": (2, False)}
    assert journal.shards("computing").count("wrong") == 1


class UnpicklableError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")
        self.lock = __import__("threading").Lock()


def test_exceptions_and_summaries_that_cannot_be_pickled_are_failures_too(work_through, shard):
    def fail():
        raise UnpicklableError("this", "that")

    events = work_through(
        [shard("error", compute=fail), shard("summary", compute=__import__("threading").Lock)], max_attempts=1
    )
    errors = {event.shard.id: event.error for event in of(Quarantined, events)}
    assert "UnpicklableError: this and that" in errors["error"]
    assert "pickle" in errors["summary"]


def test_a_shard_whose_worker_is_killed_is_finished_elsewhere(make_pool, shard, journal, tmp_path):
    def endless_the_first_time():
        if not (tmp_path / "seen").exists():
            (tmp_path / "seen").touch()
            time.sleep(600)

    shards = [shard("victim", compute=endless_the_first_time), *(shard(f"{i}") for i in range(20))]
    events = []
    for event in make_pool().run(shards):
        events.append(event)
        if len(events) == 1:
            os.kill(journal.wait_for("computing", "victim").pid, signal.SIGKILL)
    assert len(of(WorkerLost, events)) == 1
    assert not of(Quarantined, events)
    assert len(committed(events)) == len(set(committed(events))) == 21
    [victim] = [event for event in of(Committed, events) if event.shard.id == "victim"]
    assert victim.attempt == 2
    assert victim.summary["pid"] != journal.wait_for("computing", "victim").pid


def kill_this_worker():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("stage", ["compute", "commit"])
def test_a_shard_that_kills_its_workers_is_quarantined_and_the_rest_finishes(
    work_through, shard, journal, stage
):
    shards = [shard(f"good-{i}") for i in range(12)]
    shards.insert(3, shard("poison", **{stage: kill_this_worker}))
    events = work_through(shards, max_attempts=3)
    [quarantined] = of(Quarantined, events)
    assert (quarantined.shard.id, quarantined.attempts) == ("poison", 3)
    assert "died" in quarantined.error
    assert committed(events) == sorted(f"good-{i}" for i in range(12))
    assert len(of(WorkerLost, events)) == journal.shards("computing").count("poison") == 3


def test_one_attempt_condemns_the_shard_that_kills_and_not_the_one_beside_it(work_through, shard, journal):
    def kill_beside_another():
        journal.wait_for("computing", "good-0")
        kill_this_worker()

    shards = [shard("poison", commit=kill_beside_another)]
    shards += [shard(f"good-{i}", compute=lambda: time.sleep(0.2)) for i in range(3)]
    events = work_through(shards, num_workers=1, max_attempts=1)
    assert [event.shard.id for event in of(Quarantined, events)] == ["poison"]
    assert committed(events) == ["good-0", "good-1", "good-2"]


def stop_this_worker():
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)  # it is the main thread that stops the others, once it is scheduled


@pytest.mark.parametrize("hang", [lambda: time.sleep(600), stop_this_worker], ids=["sleeps", "is stopped"])
def test_a_shard_that_hangs_is_ended_and_counts_as_an_attempt(work_through, shard, hang):
    shards = [shard("hangs", compute=hang), *(shard(f"good-{i}") for i in range(6))]
    events = work_through(shards, max_attempts=2, shard_timeout=1.0)
    [quarantined] = of(Quarantined, events)
    assert (quarantined.shard.id, quarantined.attempts) == ("hangs", 2)
    assert "shard_timeout is 1 s" in quarantined.error
    assert committed(events) == [f"good-{i}" for i in range(6)]


def test_a_shard_is_not_timed_while_it_waits_behind_another(work_through, shard):
    shards = [shard(f"{i}", compute=lambda: time.sleep(0.8)) for i in range(3)]
    events = work_through(shards, num_workers=1, shard_timeout=1.4)
    assert [event.attempt for event in of(Committed, events)] == [1] * 3
    assert len(events) == 3


def test_a_lost_device_context_costs_the_worker_and_not_the_shard_behind(
    work_through, shard, journal, tmp_path
):
    def lose_device_once():
        if not (tmp_path / "lost").exists():
            (tmp_path / "lost").touch()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    shards = [shard("first", compute=lose_device_once), shard("behind"), shard("last")]
    events = work_through(shards, num_workers=1, max_attempts=2)
    assert "illegal memory access" in of(WorkerLost, events)[0].error
    assert committed(events) == ["behind", "first", "last"]
    assert len({line.pid for line in journal.lines("computing")}) == 2
    assert journal.shards("computing").count("behind") == 1, "nothing runs on a broken device"


# One worker makes the number of failures certain. Of two that start together, the second may already have a
# machine when the first one fails: the pool then waits for it, as it should, and counts one failure more.
def test_a_job_that_cannot_be_built_is_an_error_with_its_traceback(make_pool, shard):
    def missing_weights(_shared):
        raise FileNotFoundError("no weights at /nowhere")

    begin = time.monotonic()
    events = make_pool(missing_weights, num_workers=1, max_attempts=3).run([shard("one")])
    with pytest.raises(NoWorkerStartedError, match=r"(?s)3 workers in a row.*no weights at /nowhere"):
        list(events)
    assert time.monotonic() - begin < 20


def test_a_job_whose_building_kills_the_process_is_an_error_too(make_pool, shard):
    events = make_pool(lambda _shared: kill_this_worker(), num_workers=1, max_attempts=2).run([shard("one")])
    with pytest.raises(NoWorkerStartedError, match="2 workers in a row"):
        list(events)


def test_workers_that_cannot_start_do_not_end_a_run_while_another_one_is_building_its_job(
    make_pool, shard, tmp_path
):
    """As on a machine that does not see the data, beside one that reads a large model."""

    class Slow:
        def __init__(self, folder):
            try:
                (folder / "first").mkdir()
            except FileExistsError:
                (folder / f"failed-{os.getpid()}").touch()
                raise FileNotFoundError("no data here") from None
            # The pool asks for a third failing worker only after it has seen two fail and gone on.
            deadline = time.monotonic() + 60
            while len(list(folder.glob("failed-*"))) < 3 and time.monotonic() < deadline:
                time.sleep(0.02)

        def compute(self, shard):
            return shard.id

        def commit(self, computed, attempt):
            return {}

    events = list(make_pool(Slow, tmp_path, max_attempts=2).run([shard("one"), shard("two")]))
    assert committed(events) == ["one", "two"]
    assert len(of(WorkerLost, events)) >= 2, "as many failures as would end a run without hope"


def test_a_worker_that_fails_to_start_is_tried_again(make_pool, shard, tmp_path):
    class Shy:
        def __init__(self, folder):
            if not (folder / "tried").exists():
                (folder / "tried").touch()
                raise MemoryError("the device is full")

        def compute(self, shard):
            return shard.id

        def commit(self, computed, attempt):
            return {}

    events = list(make_pool(Shy, tmp_path, num_workers=1).run([shard("one")]))
    assert [type(event) for event in events] == [WorkerLost, Committed]
    assert "the device is full" in events[0].error


def test_an_error_in_the_plan_reaches_the_caller(make_pool, shard):
    def plan():
        yield shard("one")
        raise OSError("the listing broke off")

    with pytest.raises(OSError, match="the listing broke off"):
        list(make_pool().run(plan()))
