"""What attribution along training has of its own: a trial of Tune's that is killed, and a tape before any row."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
TRIAL, ACTOR = "ray::ResourceTrainable", "ray::Worker"  # the titles of actors' processes


def checkpoints(run: Path) -> list[Path]:
    return list((run / "tapes").glob("*/checkpoints/*.safetensors"))


def time_of_first_checkpoint(run: Path) -> float:
    return min(path.stat().st_mtime for path in checkpoints(run) if path.stem.endswith("-00000000"))


def test_a_killed_trial_goes_on_from_its_last_checkpoint_to_the_same_weights(
    start, check_complete, tmp_path
) -> None:
    run = tmp_path / "run"
    driver = start("training", run)
    driver.wait_until(lambda: len(checkpoints(run)) >= 4)
    # Between two of its steps, and so right after a checkpoint, the process has another title.
    driver.wait_until(lambda: bool(driver.processes(TRIAL)))
    [trial] = driver.processes(TRIAL)
    os.kill(trial, signal.SIGKILL)
    first = time_of_first_checkpoint(run)
    assert driver.wait() == 0, driver.said()
    assert time_of_first_checkpoint(run) == first, "the training began anew"
    check_complete("training", run)


def test_drivers_and_actors_killed_at_random_lose_and_double_nothing(
    start, num_committed, check_complete, tmp_path
) -> None:
    chance, run = random.Random(0), tmp_path / "run"
    for attempt in range(4):
        driver = start("training", run)
        recorded, committed = len(checkpoints(run)), num_committed(run)
        if recorded < 17:
            driver.wait_until(lambda count=recorded + 4: len(checkpoints(run)) >= count)
        else:
            driver.wait_until(lambda count=committed + 2: num_committed(run) >= count)
            if actors := driver.processes(ACTOR):
                os.kill(actors[0], signal.SIGKILL)
                driver.wait_until(lambda count=committed + 4: num_committed(run) >= count)
        time.sleep(chance.uniform(0, 0.3))
        driver.kill()
        assert attempt or num_committed(run) == 0, "the tape is recorded first"
    last = start("training", run)
    assert last.wait() == 0, last.said()
    check_complete("training", run)


def test_ctrl_c_while_training_says_how_to_resume(start, check_complete, tmp_path) -> None:
    run = tmp_path / "run"
    driver = start("training", run)
    driver.wait_until(lambda: len(checkpoints(run)) >= 3)
    driver.interrupt()
    assert driver.wait() == 130, driver.said()
    assert "The same command continues: python sweeps/attribute_training.py" in driver.said()
    assert "Traceback" not in driver.said()
    assert driver.is_gone(30)
    again = start("training", run)
    assert again.wait() == 0, again.said()
    check_complete("training", run)
