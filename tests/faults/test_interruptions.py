"""Whatever is killed when, the same command completes the sweep, and the results are the undisturbed ones."""

import os
import random
import re
import signal
import time

import pytest

from sweeps.store import CRASH_POINTS

pytestmark = pytest.mark.long
CRASHING = "tests/faults/crashing_sweep.py"
ACTOR = "ray::Worker"  # the title that Ray gives an actor's process


def wait_until(condition, driver) -> None:
    """Waits for a condition for as long as the driver runs."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, driver.said()
        if driver.process.poll() is not None:
            return
        time.sleep(0.02)


def test_ctrl_c_says_how_to_resume_and_leaves_no_process(
    start, num_committed, check_complete, tmp_path
) -> None:
    driver = start(tmp_path / "run")
    wait_until(lambda: num_committed(tmp_path / "run") >= 3, driver)
    driver.interrupt()
    assert driver.wait() == 130, driver.said()
    assert driver.is_gone(20)
    said = driver.said()
    assert "Traceback" not in said
    done = re.search(r"Interrupted: (\d+) of 24 shards are committed", said)
    assert done, said
    # Three files were there; of each of the two actors' last one the driver may not have heard yet.
    assert 3 - 2 <= int(done[1]) <= num_committed(tmp_path / "run") < 24
    assert (
        f"The same command continues: python sweeps/generate_all.py --output {tmp_path}/run --classes 0-23"
        in said
    )

    again = start(tmp_path / "run")
    assert again.wait() == 0, again.said()
    check_complete(tmp_path / "run")


def test_ctrl_c_before_any_work_is_no_traceback(start, tmp_path) -> None:
    driver = start(tmp_path / "run")
    wait_until(lambda: bool(driver.processes("gcs_server")), driver)
    driver.interrupt()
    assert driver.wait() == 130, driver.said()
    assert driver.is_gone(20)
    assert "Traceback" not in driver.said()
    assert "The same command continues" in driver.said()


def test_a_killed_actor_is_replaced_and_the_sweep_completes(
    start, num_committed, check_complete, tmp_path
) -> None:
    driver = start(tmp_path / "run")
    wait_until(lambda: num_committed(tmp_path / "run") >= 2, driver)
    os.kill(driver.processes(ACTOR)[0], signal.SIGKILL)
    assert driver.wait() == 0, driver.said()
    assert "lost worker" in driver.said()
    check_complete(tmp_path / "run")


def test_a_driver_killed_at_random_moments_loses_and_doubles_nothing(
    start, num_committed, check_complete, tmp_path
) -> None:
    chance = random.Random(0)
    killed = []
    for attempt in range(6):
        driver = start(tmp_path / "run")
        if attempt % 2:  # in mid-work: a little after its first commit
            before = num_committed(tmp_path / "run")
            wait_until(lambda before=before: num_committed(tmp_path / "run") > before, driver)
            time.sleep(chance.uniform(0, 0.3))
        else:  # anywhere, its start included
            time.sleep(chance.uniform(0, 12))
        killed.append(driver)
        driver.kill()  # the next one starts while this one's actors may still finish a shard
    last = start(tmp_path / "run")
    assert last.wait() == 0, last.said()
    assert all(driver.is_gone() for driver in killed), "a local cluster ends with its driver"
    check_complete(tmp_path / "run")


def test_an_actor_that_dies_at_any_step_of_a_commit_loses_and_doubles_nothing(
    start, num_committed, check_complete, tmp_path
) -> None:
    only_one = ("--classes", "0", "--num-workers", "1", "--max-attempts", "1")
    for point in CRASH_POINTS:
        driver = start(tmp_path / "run", *only_one, script=CRASHING, CRASH_ACTORS_AT=point)
        assert driver.wait() == 1, driver.said()
        assert "quarantined fast-seed0-class0-" in driver.said()
        assert num_committed(tmp_path / "run") == (point == "after_commit")
    assert list((tmp_path / "run" / "failures").iterdir())
    last = start(tmp_path / "run")
    assert last.wait() == 0, last.said()
    check_complete(tmp_path / "run")


def test_two_drivers_at_once_commit_every_shard_once(start, check_complete, tmp_path) -> None:
    drivers = [start(tmp_path / "run", "--num-workers", "1") for _ in range(2)]
    for driver in drivers:
        assert driver.wait() == 0, driver.said()
    check_complete(tmp_path / "run")
