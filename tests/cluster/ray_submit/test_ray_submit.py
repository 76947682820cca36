"""`ray up`, `ray submit` and `ray job submit` as a user types them, on the cluster of cluster/on_prem.yaml."""

import stat
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

SMALL = (
    *("--recipes", "fast", "--num-steps", "8", "--image-size", "64", "--judges", "none"),
    *("--shard-size", "1", "--batch-size", "1", "--num-workers", "2"),
)
WRONG_TOKEN = "0" * 64

pytestmark = pytest.mark.long


def classes(run: Path) -> list[int]:
    return sorted(pq.read_table(run / "results")["class_index"].to_pylist())


def committed(run: Path) -> dict[str, int]:
    """Return when each shard was written, by its file."""
    return {path.name: path.stat().st_mtime_ns for path in (run / "results").iterdir()}


def listening_addresses(port: int) -> set[str]:
    """Return the addresses, in the kernel's notation, at which something listens on a port."""
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


@pytest.fixture(scope="module")
def run(cluster) -> Path:
    """Return the run of `ray submit` without --output: four classes, one per shard."""
    done = cluster.submit("--classes", "0-3", *SMALL)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    return cluster.runs / "generate"


def test_ray_up_starts_the_other_machine_with_the_repository_that_was_shipped(cluster) -> None:
    assert "/2.0 CPU" in cluster.execute("ray status")  # the worker's: the head has none here
    where = cluster.execute("python -c 'import sweeps; print(sweeps.__file__)'")
    assert f"{cluster.head.home}/attrib-sweeps/sweeps/__init__.py" in where
    assert (cluster.worker.home / "attrib-sweeps" / "sweeps" / "__init__.py").exists()


def test_a_submitted_sweep_runs_on_the_cluster_and_writes_where_its_configuration_says(cluster, run) -> None:
    assert set(classes(run)) >= {0, 1, 2, 3}
    assert (run / "_SUCCESS").exists()
    assert len(cluster.sessions()) == 1, "the sweep started a cluster of its own"


def test_a_second_submission_runs_the_shards_that_are_new_alone(cluster, run) -> None:
    before = committed(run)
    done = cluster.submit("--classes", "0-4", *SMALL)
    assert done.returncode == 0, done.stdout
    assert before.items() < committed(run).items()
    assert len(committed(run)) == len(before) + 1
    assert 4 in classes(run)


def test_a_mistake_in_a_submitted_command_is_told_and_fails(cluster) -> None:
    done = cluster.submit("--classes", "0-99999", *SMALL)
    assert done.returncode != 0
    assert "error: classes" in done.stdout


def test_a_job_continues_the_same_run(cluster, run) -> None:
    before = committed(run)
    script = ("python", "-m", "sweeps.generate_all")  # a job has no folder of its own
    done = cluster.submit_job(*script, "--classes", "0-3,7", *SMALL, RAY_AUTH_MODE="token")
    assert done.returncode == 0, done.stdout
    assert before.items() < committed(run).items()
    assert 7 in classes(run)
    assert len(cluster.sessions()) == 1


def test_no_job_without_the_token(cluster) -> None:
    for token in ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": WRONG_TOKEN}, {"RAY_AUTH_MODE": "disabled"}):
        job = cluster.submit_job("true", **token)
        assert job.returncode != 0
        assert "AuthenticationError" in job.stdout


def test_no_driver_without_the_token(cluster) -> None:
    program = "import sys; from cluster.session import connect; connect(sys.argv[1]).__enter__()"
    connect = [sys.executable, "-c", program, f"{cluster.head.address}:{cluster.gcs}"]
    assert cluster.run(*connect, RAY_AUTH_MODE="token").returncode == 0
    refused = cluster.run(*connect, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=WRONG_TOKEN)
    assert refused.returncode != 0
    assert "ClusterAddressError: cannot use the Ray cluster" in refused.stdout


def test_the_dashboard_listens_on_the_head_alone(cluster) -> None:
    assert listening_addresses(cluster.dashboard) == {"0100007F"}


def test_the_token_is_readable_by_its_user_alone(cluster) -> None:
    for home in (cluster.laptop, cluster.head.home, cluster.worker.home):
        assert stat.S_IMODE((home / ".ray" / "auth_token").stat().st_mode) == 0o600
