"""Trials, actors and drivers of attribution along training are killed; tape and rows are the undisturbed ones."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
TRAINING = "sweeps/attribute_training.py"
TRIAL, ACTOR = "ray::ResourceTrainable", "ray::Worker"  # the titles of actors' processes


def num_checkpoints(run: Path) -> int:
    return sum(1 for _ in (run / "tapes").glob("*/checkpoints/*.safetensors"))


def wait_until(condition, driver) -> None:
    """Waits for a condition for as long as the driver runs."""
    deadline = time.monotonic() + 300
    while not condition() and driver.process.poll() is None:
        assert time.monotonic() < deadline, driver.said()
        time.sleep(0.02)


def test_a_killed_trial_goes_on_from_its_last_checkpoint_to_the_same_weights(
    start, check_training_complete, tmp_path
) -> None:
    run = tmp_path / "run"
    driver = start(run, script=TRAINING)
    wait_until(lambda: num_checkpoints(run) >= 4, driver)
    [trial] = driver.processes(TRIAL)
    os.kill(trial, signal.SIGKILL)
    first = min(path.stat().st_mtime for path in (run / "tapes").glob("*/checkpoints/*-00000000.safetensors"))
    assert driver.wait() == 0, driver.said()
    again = min(path.stat().st_mtime for path in (run / "tapes").glob("*/checkpoints/*-00000000.safetensors"))
    assert again == first, "the training began anew"
    check_training_complete(run)


def test_drivers_and_actors_killed_at_random_lose_and_double_nothing(
    start, num_committed, check_training_complete, tmp_path
) -> None:
    chance, run = random.Random(0), tmp_path / "run"
    for attempt in range(4):
        driver = start(run, script=TRAINING)
        checkpoints, committed = num_checkpoints(run), num_committed(run)
        if checkpoints < 17:
            wait_until(lambda count=checkpoints + 4: num_checkpoints(run) >= count, driver)
        else:
            wait_until(lambda count=committed + 2: num_committed(run) >= count, driver)
            if actors := driver.processes(ACTOR):
                os.kill(actors[0], signal.SIGKILL)
                wait_until(lambda count=committed + 4: num_committed(run) >= count, driver)
        time.sleep(chance.uniform(0, 0.3))
        driver.kill()
        assert attempt or num_committed(run) == 0, "the tape is recorded first"
    last = start(run, script=TRAINING)
    assert last.wait() == 0, last.said()
    check_training_complete(run)


def test_ctrl_c_while_training_says_how_to_resume(start, check_training_complete, tmp_path) -> None:
    run = tmp_path / "run"
    driver = start(run, script=TRAINING)
    wait_until(lambda: num_checkpoints(run) >= 3, driver)
    driver.interrupt()
    assert driver.wait() == 130, driver.said()
    assert "The same command continues: python sweeps/attribute_training.py" in driver.said()
    assert "Traceback" not in driver.said()
    assert driver.is_gone(30)
    again = start(run, script=TRAINING)
    assert again.wait() == 0, again.said()
    check_training_complete(run)


def test_two_drivers_at_once_record_one_tape_and_commit_every_shard_once(
    start, check_training_complete, tmp_path
) -> None:
    drivers = [start(tmp_path / "run", "--num-workers", "1", script=TRAINING) for _ in range(2)]
    for driver in drivers:
        assert driver.wait() == 0, driver.said()
    check_training_complete(tmp_path / "run")
