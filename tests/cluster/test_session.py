"""Finding a cluster, starting one, refusing an address that is none, and ending without leftovers."""

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster import session
from cluster.pool import Pool, PoolOptions
from cluster.session import ClusterAddressError, Session, connect


@pytest.fixture
def environment(tmp_path):
    """Return an environment with its own home and token. `MARK` identifies its processes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    home = tmp_path / "home"
    home.mkdir()
    return inherited | {"HOME": str(home), "MARK": uuid.uuid4().hex}


def start_python(program, environment):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_python(program, environment):
    with start_python(program, environment) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.splitlines(), err


def processes_left(environment, seconds=10.0):
    """Return the pids of processes with this environment's mark; waits so many seconds for their end."""
    deadline = time.monotonic() + seconds
    mark = f"MARK={environment['MARK']}".encode()
    while True:
        left = [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if mark in read(path)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def read(path):
    try:
        return path.read_bytes()
    except OSError:  # another user's process, or one that has just ended
        return b""


def test_without_an_address_and_without_a_cluster_a_local_one_starts_quietly(environment, tmp_path):
    # A folder without a record of `ray start`; the sockets stay in the usual, short one.
    program = f"""
        from cluster import session
        session.get_ray_address_file = lambda _: {str(tmp_path / "none")!r}
        with session.connect(num_cpus=3) as ray_session:
            print(ray_session.is_local, ray_session.num_cpus, ray_session.num_gpus, ray_session.address)
            print(ray_session.default_workers(0.0))
    """
    out, err = run_python(program, environment)
    assert out == ["True 3.0 0.0 local", "3"]
    assert err == "", "a clean start says nothing"
    token = Path(environment["HOME"]) / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert processes_left(environment) == []


def test_a_connection_that_exists_is_used_and_left_open(local_cluster):
    import ray

    with connect() as inner:
        assert inner.num_cpus == local_cluster.num_cpus == 4
    assert ray.is_initialized()


@pytest.mark.parametrize(
    ("num_gpus", "gpus_per_worker", "expected"),
    [(0, 0.0, 8), (4, 1.0, 4), (4, 0.5, 8), (1, 0.1, 10), (4, 3.0, 1), (1, 2.0, 1)],
)
def test_workers_fill_the_gpus_or_else_the_cores(num_gpus, gpus_per_worker, expected):
    assert Session("local", True, 8.0, num_gpus).default_workers(gpus_per_worker) == expected


class TestAddresses:
    @pytest.fixture(autouse=True)
    def _disconnected(self):
        import ray

        ray.shutdown()

    @pytest.mark.parametrize("prefix", ["", "ray://"])
    def test_nobody_answers(self, prefix):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"{prefix}127.0.0.1:{unused.getsockname()[1]}"
            begin = time.monotonic()
            with (
                pytest.raises(ClusterAddressError, match=f"no Ray cluster answers at '{address}'"),
                connect(address),
            ):
                pass
        assert time.monotonic() - begin < 12

    def test_the_address_in_the_environment_is_dead(self, monkeypatch):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{unused.getsockname()[1]}")
            with pytest.raises(ClusterAddressError, match="no Ray cluster answers"), connect():
                pass

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another account")
    def test_a_cluster_that_another_account_names_is_not_joined_unasked(self, tmp_path, monkeypatch):
        record = tmp_path / "ray_current_cluster"
        record.write_text("127.0.0.1:6379")
        os.chown(record, 12345, -1)
        monkeypatch.setattr(session, "get_ray_address_file", lambda _: str(record))
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        with pytest.raises(ClusterAddressError, match="belongs to another account"), connect():
            pass

    @pytest.mark.parametrize("greeting", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b""])
    def test_something_else_answers(self, greeting):
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer():
                with server.accept()[0] as connection:
                    connection.sendall(greeting)

            thread = threading.Thread(target=answer)
            thread.start()
            address = f"127.0.0.1:{server.getsockname()[1]}"
            with pytest.raises(ClusterAddressError, match="no Ray cluster"), connect(address):
                pass
            thread.join()

    @pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:port", "host:70000", "ray://:1"])
    def test_a_malformed_address_is_named(self, address):
        with pytest.raises(ClusterAddressError, match=f"not '{address}'"), connect(address):
            pass

    def test_a_pool_without_a_connection_starts_no_cluster_of_its_own(self):
        with pytest.raises(RuntimeError, match="needs a connection"):
            Pool(list, None, PoolOptions(num_workers=1))

    def test_a_name_that_does_not_resolve(self):
        with pytest.raises(ClusterAddressError, match=r"host\.invalid:6379"), connect("host.invalid:6379"):
            pass


@pytest.mark.parametrize("busy", ["computing", pytest.param("starting", marks=pytest.mark.long)])
def test_ctrl_c_reaches_the_caller_at_once_and_leaves_no_process(environment, busy):
    program = f"""
        import time
        from types import SimpleNamespace
        from cluster.pool import Pool, PoolOptions
        from cluster.session import connect

        def build(busy):
            if busy == "starting":
                time.sleep(600)
            return Sleeper()

        class Sleeper:
            def compute(self, shard):
                time.sleep(600 if shard.id == "long" else 0)
            def commit(self, computed, attempt):
                return {{}}

        try:
            with connect("local", num_cpus=2):
                with Pool(build, {busy!r}, PoolOptions(num_workers=2, stall_timeout=2.0)) as pool:
                    for event in pool.run([SimpleNamespace(id="short"), SimpleNamespace(id="long")]):
                        print(type(event).__name__, flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    with start_python(program, environment) as driver:
        assert driver.stdout.readline() in ("Committed\n", "Stalled\n")
        time.sleep(0.5)
        begin = time.monotonic()
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        out, err = driver.communicate(timeout=30)
        assert time.monotonic() - begin < 10
    assert "interrupted" in out
    assert "Traceback" not in out + err
    assert processes_left(environment) == []


@pytest.mark.long
def test_a_cluster_of_other_people_is_refused_within_half_a_minute(local_cluster, environment):
    import ray

    program = f"""
        import time
        from cluster.session import ClusterAddressError, connect

        begin = time.monotonic()
        try:
            with connect({ray.get_runtime_context().gcs_address!r}):
                print("in")
        except ClusterAddressError as error:
            print("its token in RAY_AUTH_TOKEN" in str(error), time.monotonic() - begin < 30)
    """
    out, _ = run_python(program, environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64})
    assert out == ["True True"]


def test_a_raylet_that_has_died_no_longer_answers(tmp_path, monkeypatch):
    def of(node):
        monkeypatch.setattr(session.ray._private.worker, "_global_node", node)
        return session.raylet_answers()

    node = SimpleNamespace(raylet_socket_name=str(tmp_path / "raylet"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(node.raylet_socket_name)
        server.listen()
        assert of(node)
    assert not of(node), "a killed process leaves the socket's file behind"
    assert of(SimpleNamespace(raylet_socket_name=None)), "a client of a cluster elsewhere"
    assert of(None)
