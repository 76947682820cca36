"""Whatever is killed when, the same command completes a sweep, and the results are the undisturbed ones."""

import os
import random
import re
import signal
import time

import pyarrow.parquet as pq
import pytest

from sweeps.store import CRASH_POINTS

pytestmark = pytest.mark.long
FAULTY = "tests/faults/faulty_sweep.py"
ACTOR = "ray::Worker"  # the title that Ray gives an actor's process
# Only the first shard, whose actor dies in the commit.
ONE_SHARD = {
    "generate": ("fast-seed0-class0-", "--classes", "0"),
    "attack": ("fgsm-trained-untargeted-image0_11-", "--images", "0-11", "--methods", "fgsm"),
    "attribute": ("predicted-image0_7-", "--images", "0-7"),
}


def test_ctrl_c_says_how_to_resume_and_leaves_no_process(
    start, described, num_committed, check_complete, tmp_path
) -> None:
    run, num_shards = tmp_path / "run", described["generate"].num_shards
    driver = start("generate", run)
    driver.wait_until(lambda: num_committed(run) >= 3)
    driver.interrupt()
    assert driver.wait() == 130, driver.said()
    assert driver.is_gone(20)
    said = driver.said()
    assert "Traceback" not in said
    done = re.search(rf"Interrupted: (\d+) of {num_shards} shards are committed", said)
    assert done, said
    assert 3 <= int(done[1]) == num_committed(run) < num_shards
    assert f"The same command continues: python {described['generate'].script} --output {run} --" in said

    again = start("generate", run)
    assert again.wait() == 0, again.said()
    check_complete("generate", run)


def test_ctrl_c_before_any_work_is_no_traceback(start, tmp_path) -> None:
    driver = start("generate", tmp_path / "run")
    driver.wait_until(lambda: bool(driver.processes("gcs_server")))
    driver.interrupt()
    assert driver.wait() == 130, driver.said()
    assert driver.is_gone(20)
    assert "Traceback" not in driver.said()
    assert "The same command continues" in driver.said()


def test_a_killed_actor_is_replaced_and_the_sweep_completes(
    start, num_committed, check_complete, tmp_path
) -> None:
    driver = start("generate", tmp_path / "run")
    driver.wait_until(lambda: num_committed(tmp_path / "run") >= 2)
    os.kill(driver.processes(ACTOR)[0], signal.SIGKILL)
    assert driver.wait() == 0, driver.said()
    assert "lost worker" in driver.said()
    check_complete("generate", tmp_path / "run")


# The storm kills those of the other sweeps; here each has a local cluster, which must end with it.
def test_a_driver_killed_at_random_moments_loses_and_doubles_nothing(
    start, num_committed, check_complete, tmp_path
) -> None:
    chance, run = random.Random(0), tmp_path / "run"
    killed = []
    for attempt in range(4):
        driver = start("generate", run)
        if attempt % 2:  # in mid-work: a little after its first commit
            before = num_committed(run)
            driver.wait_until(lambda before=before: num_committed(run) > before)
            time.sleep(chance.uniform(0, 0.3))
        else:  # anywhere, its start included
            time.sleep(chance.uniform(0, 12))
        killed.append(driver)
        driver.kill()  # the next one starts while this one's actors may still finish a shard
    last = start("generate", run)
    assert last.wait() == 0, last.said()
    assert all(driver.is_gone() for driver in killed), "a local cluster ends with its driver"
    check_complete("generate", run)


@pytest.mark.parametrize("sweep", ONE_SHARD)
def test_an_actor_that_dies_at_any_step_of_a_commit_loses_and_doubles_nothing(
    sweep, start, num_committed, check_complete, tmp_path
) -> None:
    run, (shard, *only_one) = tmp_path / "run", ONE_SHARD[sweep]
    fault = {"FAULTY_SWEEP": sweep, "FAULT": "crash", "FAULT_AT": "+".join(CRASH_POINTS)}
    tried = ("--num-workers", "1", "--max-attempts", str(len(CRASH_POINTS)))
    driver = start(sweep, run, *only_one, *tried, script=FAULTY, **fault)
    assert driver.wait() == 1, driver.said()
    assert f"quarantined {shard}" in driver.said()
    # Each attempt died at the next point of the commit, and only the last of these is behind the rows.
    assert CRASH_POINTS[-1] == "after_commit"
    assert num_committed(run) == 1
    assert set(pq.read_table(run / "results")["attempt"].to_pylist()) == {len(CRASH_POINTS)}
    assert len(list((run / "images").iterdir())) == len(CRASH_POINTS)
    assert list((run / "failures").iterdir())
    last = start(sweep, run)
    assert last.wait() == 0, last.said()
    check_complete(sweep, run)


@pytest.mark.parametrize("sweep", ["generate", "training"])  # an attack's two drivers write into S3
def test_two_drivers_at_once_commit_every_shard_once(sweep, start, check_complete, tmp_path) -> None:
    drivers = [start(sweep, tmp_path / "run", "--num-workers", "1") for _ in range(2)]
    for driver in drivers:
        assert driver.wait() == 0, driver.said()
    check_complete(sweep, tmp_path / "run")
