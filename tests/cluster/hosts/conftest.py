"""Hosts with addresses of their own: network namespaces on a bridge, and in each a raylet."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PORT = 6379  # in a namespace of its own, where every port is free
SECONDS_TO_START = 120.0
# A host that is cut off is missed within a second or two; by default it takes half a minute.
QUICK_HEALTH_CHECKS = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_timeout_ms": "1000",
}


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:  # ended meanwhile
        return ""


def wait_for(condition: Callable[[], bool], seconds: float = SECONDS_TO_START) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class Host:
    """A network namespace with one address, one link to the bridge, and a name for itself."""

    def __init__(self, network: "Network", number: int) -> None:
        self.network = network
        self.name = f"sw{network.mark}{number}"
        self.link = f"{self.name}l"  # the bridge's end of the wire; at most 15 characters
        self.address = f"{network.subnet}.{number}"
        self.log = network.folder / f"{self.name}.log"
        self.raylet: subprocess.Popen[bytes] | None = None
        self.num_starts = 0

    def set_up(self) -> None:
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", self.link, "master", self.network.bridge, "up")
        for command in (
            f"address add {self.address}/24 dev eth0",
            "link set lo up",
            "link set eth0 up",
            "route add default dev eth0",  # by which Ray finds out what its own address is
        ):
            run("ip", "-n", self.name, *command.split())

    def start(self, *command: str, hide: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process on this host that writes to the host's log.

        `hide` is a folder that it sees empty, as if its disk were its own: `ip netns exec` gives each command
        a view of the mounts that nobody shares. So does `unshare --uts` with the machine's name.
        """
        own = "echo $0 > /proc/sys/kernel/hostname && "
        if hide:
            own += f"mount -t tmpfs tmpfs '{hide}' && "
        inside = ["unshare", "--uts", "sh", "-c", own + 'exec "$@"', self.name]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *inside, *command],
                cwd=Path(__file__).parents[3],
                env=self.network.environment | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_ray(self, *options: str, hide: Path | None = None) -> None:
        """Run `ray start --block`, as a supervisor would."""
        ray = str(Path(sys.executable).parent / "ray")
        own = ("--node-ip-address", self.address, "--disable-usage-stats", "--block")
        self.raylet = self.start(ray, "start", *own, *options, hide=hide)

    def join(self, num_cpus: int, *, hide: Path | None = None) -> None:
        """Start a raylet that belongs to the head's cluster, and wait until it does."""
        self.start_ray("--address", self.network.ray_address, "--num-cpus", str(num_cpus), hide=hide)
        self.wait_until_started()

    def wait_until_started(self) -> None:
        assert self.raylet is not None
        self.num_starts += 1
        assert wait_for(lambda: self.said().count("Ray runtime started.") == self.num_starts), self.said()

    def cut_off(self) -> None:
        run("ip", "link", "set", self.link, "down")

    def reconnect(self) -> None:
        run("ip", "link", "set", self.link, "up")

    def processes(self, title: str = "") -> list[int]:
        """Return this host's processes whose command line holds `title`."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [pid for pid in map(int, listed.stdout.split()) if title in _command_line(pid)]

    def said(self) -> str:
        return self.log.read_text()

    def tear_down(self) -> None:
        """End all processes of this host, then remove the host."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):  # ended meanwhile
                os.kill(pid, signal.SIGKILL)
        if self.raylet is not None:
            self.raylet.wait()
        # The wire goes with its namespace, and that with its last process.
        subprocess.run(["ip", "link", "delete", self.link], capture_output=True)
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True)


class Network:
    """Hosts on one bridge. The first is the head of a Ray cluster, which takes no work itself."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(3)
        self.bridge = f"sw{self.mark}br"
        # Of the block for benchmarks between networks (RFC 2544): nothing else is there.
        self.subnet = f"198.{secrets.choice((18, 19))}.{secrets.randbelow(256)}"
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # Ray's sockets want a short path
        self.hosts: list[Host] = []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = inherited | QUICK_HEALTH_CHECKS
        self.environment |= {"RAY_TMPDIR": str(self.folder), "RAY_AUTH_MODE": "token"}
        self.environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

    @property
    def ray_address(self) -> str:
        return f"{self.hosts[0].address}:{PORT}"

    def add_host(self) -> Host:
        self.hosts.append(Host(self, 1 + len(self.hosts)))
        self.hosts[-1].set_up()
        return self.hosts[-1]

    def start_head(self) -> Host:
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "link", "set", self.bridge, "up")
        head = self.add_host()
        options = ("--head", "--port", str(PORT), "--num-cpus", "0", "--include-dashboard", "false")
        head.start_ray(*options, "--temp-dir", str(self.folder))
        head.wait_until_started()
        return head

    def tear_down(self) -> None:
        for host in self.hosts:
            host.tear_down()
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _namespaces() -> None:
    """Skip the tests if this machine or this account cannot have network namespaces."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    name = f"sw{secrets.token_hex(3)}try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no network namespaces here: {tried.stderr.strip()}")
    run("ip", "netns", "delete", name)


@pytest.fixture
def network(_namespaces: None) -> Iterator[Network]:
    """Yield a network with a head without CPUs and no other host yet. Nothing of it is left afterwards."""
    network = Network()
    try:
        network.start_head()
        yield network
    finally:
        network.tear_down()
