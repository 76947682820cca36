"""A local cluster's sockets are reachable only from this machine, and only holders of its token join it."""

import ipaddress
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import ray

LISTENING = "0A"  # in the column of states of /proc/net/tcp

JOIN = """
    import sys
    from cluster.session import ClusterAddressError, connect

    try:
        with connect(sys.argv[1]) as session:
            print("joined", session.num_cpus)
    except ClusterAddressError as error:
        print("refused", "its token in RAY_AUTH_TOKEN or ~/.ray/auth_token" in str(error))
"""


def listening_addresses() -> dict[str, str]:
    """Return address and port of each listening socket by its inode, from the kernel."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENING:
                found[inode] = f"{address_of(local.split(':')[0])} port {int(local.split(':')[1], 16)}"
    return found


def address_of(digits: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address from the kernel's words of four bytes, each in the machine's own byte order."""
    words = [digits[start : start + 8] for start in range(0, len(digits), 8)]
    address = ipaddress.ip_address(b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words))
    return getattr(address, "ipv4_mapped", None) or address


def family() -> list[int]:
    """Return this process and all its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    members = [os.getpid()]
    for member in members:
        members += [pid for pid, parent in parents.items() if parent == member]
    return members


def sockets_of(pid: int) -> Iterator[str]:
    """Yield the inodes of a process's sockets."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            target = str(link.readlink())
            if target.startswith("socket:["):
                yield target.removeprefix("socket:[").removesuffix("]")


def listeners(seconds: float = 5.0) -> dict[str, str]:
    """Return the addresses on which this process and its children listen, with the program of each.

    Ray's agents come up after the first actor; one of them is not there in every installation.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = listening_programs()
        agents = {program for program in found.values() if "Dashboard" in program or "RuntimeEnv" in program}
        if len(agents) >= 2 or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def listening_programs() -> dict[str, str]:
    addresses, found = listening_addresses(), {}
    for pid in family():
        with suppress(OSError):
            program = Path(f"/proc/{pid}/comm").read_text().strip()
            found |= {addresses[inode]: program for inode in sockets_of(pid) if inode in addresses}
    return found


@ray.remote(num_cpus=0)
class Actor:
    def process(self) -> int:
        return os.getpid()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel's table of sockets is Linux's")
def test_every_process_of_a_local_cluster_listens_on_the_loopback_interface_alone(local_cluster) -> None:
    actor = Actor.remote()
    assert ray.get(actor.process.remote()) in family()
    found = listeners()
    assert {"gcs_server", "raylet"} <= set(found.values())
    assert any(program.startswith("ray::Actor") for program in found.values())
    outside = {where: program for where, program in found.items() if not is_loopback(where)}
    assert outside == {}


def is_loopback(where: str) -> bool:
    return ipaddress.ip_address(where.split()[0]).is_loopback


def join(address: str, home: Path, **environment: str) -> "subprocess.Popen[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = {"HOME": str(home), "RAY_NUM_REDIS_GET_RETRIES": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(JOIN), address],
        env=inherited | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.long
def test_only_who_has_the_token_joins_a_local_cluster(local_cluster, tmp_path) -> None:
    address = ray.get_runtime_context().gcs_address
    mode = {"RAY_AUTH_MODE": "token"}
    processes = {
        "right": join(address, tmp_path, RAY_AUTH_TOKEN=os.environ["RAY_AUTH_TOKEN"], **mode),
        "wrong": join(address, tmp_path, RAY_AUTH_TOKEN="0" * 64, **mode),
        "missing": join(address, tmp_path, **mode),
        "unsent": join(address, tmp_path),
    }
    said = {token: process.communicate(timeout=120)[0].strip() for token, process in processes.items()}
    refused = "refused True"
    assert said == {"right": "joined 4.0", "wrong": refused, "missing": refused, "unsent": refused}
