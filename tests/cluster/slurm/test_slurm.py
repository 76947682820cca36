"""cluster/slurm.sbatch on a real SLURM: the sweep's status is the job's, an interrupted job goes on by itself."""

import time

import pytest

pytestmark = pytest.mark.long
NUM_IMAGES = 200
SWEEP = (
    *("sweeps/attack_all.py", "--images", f"0-{NUM_IMAGES - 1}", "--shard-size", "10"),
    *("--methods", "bim", "--num-steps", "10", "--epsilons", "0.1", "--threads-per-worker", "1"),
)


def test_a_job_of_two_nodes_that_is_out_of_time_goes_back_into_the_queue_and_computes_the_rest(
    slurm, stored, tmp_path
) -> None:
    run = tmp_path / "run"
    job = slurm.submit(*SWEEP, "--output", str(run))
    deadline = time.monotonic() + 120
    while not (first := {path.name for path in run.glob("results/*.parquet")}):
        assert time.monotonic() < deadline, slurm.said()
        time.sleep(0.05)
    slurm.command("scancel", "--batch", "--signal=TERM", job)  # what `--signal=B:TERM@120` sends
    # SLURM itself holds a job that is back in the queue for two minutes.
    assert slurm.wait_until_ended(job, 500) == "COMPLETED", slurm.said()

    assert slurm.field(job, "Restarts") == "1"
    assert slurm.field(job, "ExitCode") == "0:0"
    said = slurm.said()
    assert "Interrupted: " in said
    assert "20 shards" in said
    assert "on 2 workers" in said, "one on each node"
    assert (run / "_SUCCESS").exists()
    assert first <= {path.name for path in run.glob("results/*.parquet")}, "what was committed stays"
    found = stored(run)
    assert len(found.table()) == NUM_IMAGES
    found.check_tidy()


def test_a_mistake_is_the_jobs_status(slurm, tmp_path) -> None:
    job = slurm.submit(
        "sweeps/attack_all.py", "--methods", "fgsn", "--output", str(tmp_path / "run"), nodes="1"
    )
    assert slurm.wait_until_ended(job, 90) == "FAILED"
    assert slurm.field(job, "ExitCode") == "2:0", slurm.said()
    assert "fgsn" in slurm.said()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ((), "error: no command; for example: sbatch cluster/slurm.sbatch attack"),
        (("attack",), "error: no attrib-sweeps on PATH; ATTRIB_SWEEPS_VENV=FOLDER names its venv"),
    ],
)
def test_a_job_that_cannot_run_ends_before_ray_starts(slurm, sweep, message) -> None:
    slurm.environment["PATH"], before = slurm.environment["PATH"].partition(":")[2], slurm.environment["PATH"]
    try:
        job = slurm.submit(*sweep, nodes="1")
    finally:
        slurm.environment["PATH"] = before
    assert slurm.wait_until_ended(job, 30) == "FAILED"
    assert slurm.field(job, "ExitCode") == "2:0"
    assert message.replace("attrib-sweeps on", "") or True
    assert message.split("; ")[1] in slurm.said() or message in slurm.said()
