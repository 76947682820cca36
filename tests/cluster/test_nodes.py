"""Machines that join late and machines that vanish, on a cluster of several raylets."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from cluster.pool import Committed, Quarantined, WorkerLost
from cluster.session import connect

pytestmark = pytest.mark.long

# Ray notices a vanished machine within two of these checks; by default it takes half a minute.
QUICK_HEALTH_CHECKS = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "2",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_timeout_ms": "500",
}


@pytest.fixture(scope="module")
def cluster():
    """Yield a cluster whose head takes no work; the driver is connected to it."""
    ray.shutdown()
    # The cluster leaves its address there, where other programs of this machine would look for theirs.
    folder = tempfile.mkdtemp(prefix="ray")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (QUICK_HEALTH_CHECKS | {"RAY_TMPDIR": folder}).items():
            patch.setenv(name, value)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        with connect(cluster.address) as session:
            assert not session.is_local
            yield cluster
        cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def machines(cluster):
    """Yield the cluster with only its head, and remove the machines that a test has added."""
    yield cluster
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
    deadline = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) > 1:
        assert time.monotonic() < deadline, "a machine that was removed is still counted"
        time.sleep(0.1)


def test_a_pool_that_waits_for_machines_uses_them_as_they_join(machines, make_pool, shard):
    def where():
        time.sleep(0.5)
        return ray.get_runtime_context().get_node_id()

    machines.add_node(num_cpus=1)
    events, nodes = [], set()
    for event in make_pool(num_workers=3, cpus_per_worker=1.0).run(shard(f"{i}", where) for i in range(40)):
        events.append(event)
        if len(events) == 2:
            machines.add_node(num_cpus=1)
        nodes.add(event.summary["result"])
    assert all(isinstance(event, Committed) for event in events)
    assert len(events) == 40
    assert len(nodes) == 2, "the machine that came late worked too, and the third worker never came"


def test_the_shards_of_a_vanished_machine_are_done_elsewhere_and_blame_nobody(machines, make_pool, shard):
    machines.add_node(num_cpus=1)
    doomed = machines.add_node(num_cpus=1)
    events = []
    pool = make_pool(num_workers=2, cpus_per_worker=1.0, max_attempts=1)
    for event in pool.run(shard(f"{i}", lambda: time.sleep(0.3)) for i in range(40)):
        events.append(event)
        if len(events) == 8:
            machines.remove_node(doomed, allow_graceful=False)
    assert [type(event) for event in events if not isinstance(event, Committed)] == [WorkerLost]
    [lost] = [event for event in events if isinstance(event, WorkerLost)]
    assert "node has died" in lost.error, "this is how the pool tells a machine's end from a worker's"
    assert not any(isinstance(event, Quarantined) for event in events), (
        "max_attempts=1 forgives a lost machine"
    )
    done = [event for event in events if isinstance(event, Committed)]
    assert sorted(int(event.shard.id) for event in done) == list(range(40))
    assert {event.attempt for event in done} == {1, 2}


def where():
    """Return the node and the GPUs that this worker was given, and its process."""
    time.sleep(0.2)
    return ray.get_runtime_context().get_node_id(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid()


def places(pool, shard, num_workers):
    """Return node, device and process of every worker, once so many workers have had a shard."""
    seen, after = set(), 10
    for event in pool.run(shard(f"{number}", where) for number in range(2000)):
        assert isinstance(event, Committed), event
        seen.add(event.summary["result"])
        after -= len(seen) >= num_workers
        if not after:  # nobody else has come meanwhile
            return seen
    raise AssertionError(f"{len(seen)} workers of {num_workers}")


def test_whole_gpus_have_one_worker_each_and_only_they_have_any(machines, make_pool, shard):
    two, one, none = (machines.add_node(num_cpus=4, num_gpus=number) for number in (2, 1, 0))
    with connect(machines.address) as session:
        workers = session.default_workers(session.default_gpus_per_worker)
    assert workers == 3, "as many as the cluster has GPUs"
    pool = make_pool(num_workers=workers, gpus_per_worker=1.0, cpus_per_worker=1.0)
    found = places(pool, shard, 3)
    assert sorted((node, device) for node, device, _ in found) == sorted(
        [(two.node_id, "0"), (two.node_id, "1"), (one.node_id, "0")]
    )
    assert len({pid for _, _, pid in found}) == 3
    assert none.node_id not in {node for node, _, _ in found}


def test_half_a_gpu_each_puts_two_workers_on_it(machines, make_pool, shard):
    machines.add_node(num_cpus=4, num_gpus=2)
    with connect(machines.address) as session:
        assert session.default_workers(0.5) == 4
    pool = make_pool(num_workers=4, gpus_per_worker=0.5, cpus_per_worker=1.0)
    found = places(pool, shard, 4)
    assert sorted(device for _, device, _ in found) == ["0", "0", "1", "1"]
    assert len({pid for _, _, pid in found}) == 4


def test_a_resource_of_the_users_own_decides_where_workers_are(machines, make_pool, shard):
    machines.add_node(num_cpus=4)
    chosen = machines.add_node(num_cpus=4, resources={"scratch_disk": 2})
    pool = make_pool(num_workers=2, cpus_per_worker=1.0, resources={"scratch_disk": 1.0})
    found = places(pool, shard, 2)
    assert {node for node, _, _ in found} == {chosen.node_id}


def test_a_raylet_that_is_killed_blames_no_shard(machines, make_pool, shard):
    machines.add_node(num_cpus=1)
    doomed = machines.add_node(num_cpus=1)
    events = []
    pool = make_pool(num_workers=2, cpus_per_worker=1.0, max_attempts=1)
    for event in pool.run(shard(f"{i}", lambda: time.sleep(0.3)) for i in range(40)):
        events.append(event)
        if len(events) == 8:
            doomed.kill_raylet()
    assert not [event for event in events if isinstance(event, Quarantined)]
    assert [type(event) for event in events if not isinstance(event, Committed)] == [WorkerLost]
    assert sorted(int(event.shard.id) for event in events if isinstance(event, Committed)) == list(range(40))


def nodes_of_actors():
    """Return every node that has had an actor of any driver, as the cluster's head remembers it."""
    actors = ray._private.state.actors()
    return {actor["Address"]["NodeID"] for actor in actors.values()}


def test_a_sweep_on_machines_with_gpus_that_come_and_go_is_as_if_undisturbed(
    machines, attack_command, wait_for_commits, check_undisturbed, tmp_path
):
    """Declared GPUs, which are not there: the sweep computes on the CPU, in as many workers as are declared."""
    run, log = tmp_path / "run", tmp_path / "log"
    machines.add_node(num_cpus=2, num_gpus=2)
    doomed = machines.add_node(num_cpus=1, num_gpus=1)
    machines.add_node(num_cpus=1)
    with log.open("wb") as file:
        driver = subprocess.Popen(
            attack_command(run, "--address", machines.address),
            cwd=Path(__file__).parents[2],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_commits(6, run, driver, log.read_text)
        assert "on 3 workers x 1 threads" in log.read_text()
        late = machines.add_node(num_cpus=1, num_gpus=1)  # until another is gone, no worker is asked for
        machines.remove_node(doomed, allow_graceful=False)
        assert driver.wait(400) == 0, log.read_text()
    finally:
        driver.kill()
        driver.wait()
    assert log.read_text().count("lost worker") == 1
    assert "quarantined" not in log.read_text()
    assert late.node_id in nodes_of_actors(), "the machine that came late had a worker"
    check_undisturbed(run)
