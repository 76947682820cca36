"""The adversarial sweep is killed in every way; the same command completes it with the undisturbed results."""

import os
import random
import signal
import time

import pytest

pytestmark = pytest.mark.long
ATTACK = "sweeps/attack_all.py"
ACTOR = "ray::Worker"  # the title that Ray gives an actor's process


def wait_for_commits(count, run, driver, num_committed) -> None:
    """Waits until so many shards are committed, for as long as the driver runs."""
    deadline = time.monotonic() + 300
    while num_committed(run) < count and driver.process.poll() is None:
        assert time.monotonic() < deadline, driver.said()
        time.sleep(0.02)


def test_killed_actors_and_drivers_lose_and_double_nothing(
    start, num_committed, check_attack_complete, tmp_path
) -> None:
    chance, run = random.Random(0), tmp_path / "run"
    for attempt in range(3):
        driver = start(run, script=ATTACK)
        wait_for_commits(num_committed(run) + 3, run, driver, num_committed)
        time.sleep(chance.uniform(0, 0.3))
        if attempt == 1 and (actors := driver.processes(ACTOR)):
            os.kill(actors[0], signal.SIGKILL)
            wait_for_commits(num_committed(run) + 2, run, driver, num_committed)
        driver.kill()
    last = start(run, script=ATTACK)
    assert last.wait() == 0, last.said()
    check_attack_complete(run)


def test_ctrl_c_says_how_to_resume_and_the_same_command_completes(
    start, num_committed, check_attack_complete, tmp_path
) -> None:
    run = tmp_path / "run"
    driver = start(run, script=ATTACK)
    wait_for_commits(3, run, driver, num_committed)
    driver.interrupt()
    assert driver.wait() == 130, driver.said()
    assert "The same command continues: python sweeps/attack_all.py" in driver.said()
    again = start(run, script=ATTACK)
    assert again.wait() == 0, again.said()
    check_attack_complete(run)


def test_two_drivers_at_once_commit_every_shard_once(start, check_attack_complete, tmp_path) -> None:
    drivers = [start(tmp_path / "run", "--num-workers", "1", script=ATTACK) for _ in range(2)]
    for driver in drivers:
        assert driver.wait() == 0, driver.said()
    check_attack_complete(tmp_path / "run")
