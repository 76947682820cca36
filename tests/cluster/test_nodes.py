"""Machines that join late and machines that vanish, on a cluster of several raylets."""

import os
import shutil
import tempfile
import time

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


@pytest.fixture
def machines(monkeypatch):
    """A cluster whose head takes no work; the driver is connected to it."""
    ray.shutdown()
    for name, value in QUICK_HEALTH_CHECKS.items():
        monkeypatch.setenv(name, value)
    # The cluster leaves its address there, where other programs of this machine would look for theirs.
    monkeypatch.setenv("RAY_TMPDIR", tempfile.mkdtemp(prefix="ray"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    with connect(cluster.address) as session:
        assert not session.is_local
        yield cluster
    cluster.shutdown()
    shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)


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
