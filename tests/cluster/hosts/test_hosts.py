"""A sweep over several hosts, each with an address of its own, of which one is cut off and comes back."""

import os
import signal
import time

import pytest

pytestmark = pytest.mark.long
ACTOR = "ray::Worker"  # the title that Ray gives an actor's process


@pytest.fixture
def start_driver(network, attack_command):
    """Return a starter of the sweep on the head, with its cluster's token or another one."""

    def start(output, *options, **environment):
        command = attack_command(output, "--address", network.ray_address, *options)
        return network.hosts[0].start(*command, **environment)

    return start


def wait_until_said(text, host, seconds=120.0):
    deadline = time.monotonic() + seconds
    while text not in host.said():
        assert time.monotonic() < deadline, host.said()
        time.sleep(0.1)


def wait_for_actor(host, driver, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not host.processes(ACTOR):
        assert driver.poll() is None, "the run ended without this host"
        assert time.monotonic() < deadline, host.said()
        time.sleep(0.1)


def test_a_host_that_is_cut_off_loses_and_doubles_nothing_and_works_again_when_it_is_back(
    network, start_driver, wait_for_commits, check_undisturbed, tmp_path
) -> None:
    head, run = network.hosts[0], tmp_path / "run"
    cut, steady = network.add_host(), network.add_host()
    cut.join(num_cpus=1)
    steady.join(num_cpus=1)
    driver = start_driver(run, "--num-workers", "2")
    wait_for_commits(4, run, driver, head.said)
    wait_for_actor(cut, driver)
    [orphan] = cut.processes(ACTOR)

    cut.cut_off()
    # The worker there cannot know. It goes on with its shards, and commits them: all hosts share the disk.
    wait_until_said("lost worker", head)
    assert cut.processes(ACTOR) == [orphan]
    num_committed = sum(1 for _ in (run / "results").iterdir())
    wait_for_commits(num_committed + 2, run, driver, head.said)

    # Some work is to be left for the host that comes back, however long that takes.
    [other] = steady.processes(ACTOR)
    os.kill(other, signal.SIGSTOP)
    cut.reconnect()
    # Ray does not take back a node that it has declared dead: the raylet learns of its death as soon as it
    # reaches the head, and ends, with its workers; so does `ray start --block`, with 1. It is on a supervisor
    # to run that again. (A raylet that nobody answers for a minute ends in the same way.)
    assert cut.raylet.wait(120) == 1
    cut.join(num_cpus=1)
    wait_for_actor(cut, driver)
    assert cut.processes(ACTOR) != [orphan]
    os.kill(other, signal.SIGCONT)
    assert driver.wait(400) == 0, head.said()
    assert "quarantined" not in head.said()
    check_undisturbed(run)


def test_a_driver_with_another_token_is_refused(network, start_driver, tmp_path) -> None:
    driver = start_driver(tmp_path / "run", RAY_AUTH_TOKEN="0" * 64)
    assert driver.wait(120) == 2, network.hosts[0].said()
    assert "token" in network.hosts[0].said().splitlines()[-1]


def test_rows_are_not_written_to_a_disk_that_the_driver_does_not_see(
    network, start_driver, check_undisturbed, tmp_path
) -> None:
    head, run = network.hosts[0], tmp_path / "run"
    run.mkdir()
    blind = network.add_host()
    blind.join(num_cpus=1, hide=run)
    driver = start_driver(run, "--num-workers", "1")
    assert driver.wait(120) == 1, head.said()
    assert f"{run} on {blind.name} is not the run directory" in head.said()
    assert "a shared folder or s3://" in head.said()
    assert not list(run.glob("results/*"))

    # Beside a host that sees the folder, the other one is only of no use.
    network.add_host().join(num_cpus=1)
    driver = start_driver(run, "--num-workers", "2")
    assert driver.wait(400) == 0, head.said()
    check_undisturbed(run)
