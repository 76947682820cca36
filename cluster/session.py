"""The connection to a Ray cluster, or to a local one that ends with the session."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_ray_address_file
from ray._private import ray_constants

from cluster.auth_token import ensure_token, keep_token_private

# Ray tries a dead address for minutes and then aborts the process. So an address must answer us first.
SECONDS_TO_ANSWER = 10.0
DEFAULT_CLIENT_PORT = 10001
# The opening of HTTP/2, which gRPC speaks, and an empty SETTINGS frame. Its answer is a SETTINGS frame.
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HTTP2_SETTINGS = 4


class ClusterAddressError(ValueError):
    """A cluster's address is malformed, or no Ray cluster answers there."""


@dataclass(frozen=True)
class Session:
    """A connection to Ray. `num_cpus` and `num_gpus` count the whole cluster when the session begins."""

    address: str
    is_local: bool
    num_cpus: float
    num_gpus: float

    @property
    def default_gpus_per_worker(self) -> float:
        """1 if the cluster has a GPU, else 0."""
        return 1.0 if self.num_gpus >= 1 else 0.0

    def default_workers(self, gpus_per_worker: float) -> int:
        """Return how many workers fill the cluster's GPUs, or its cores if they use no GPU; at least 1."""
        room = self.num_gpus / gpus_per_worker if gpus_per_worker > 0 else self.num_cpus
        return max(1, int(room + 1e-9))  # 1 / 0.1 workers are 10, whatever the rounding


@contextlib.contextmanager
def connect(address: str | None = None, *, num_cpus: int | None = None) -> Iterator[Session]:
    """Connect to Ray for the length of a `with` statement.

    `None` means the cluster that RAY_ADDRESS names, else the one that `ray start` has left on this machine,
    else a new local one. "local" always starts one, with `num_cpus`, by default every core. Any other address
    (`host:port`, `ray://host:port`, `auto`) must answer; otherwise ClusterAddressError is raised within half a
    minute. If the process already has a connection, that one is used and left open.
    """
    if ray.is_initialized():
        yield _describe(address or "auto", is_local=False)
        return
    resolved = address or _recorded_address()
    is_local = resolved in (None, "local")
    try:
        if is_local:
            _start(num_cpus)
        else:
            _join(str(resolved))
        yield _describe("local" if is_local else str(resolved), is_local=is_local)
    finally:
        ray.shutdown()


def raylet_answers() -> bool:
    """Return False if Ray's process on this machine has died: Ray then soon ends the driver's process too.

    A driver that is a client of a cluster elsewhere has no such process.
    """
    node = ray._private.worker._global_node
    path = None if node is None else node.raylet_socket_name
    if path is None:
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS_TO_ANSWER)
        try:
            connection.connect(path)
        except TimeoutError:  # it is busy
            return True
        except OSError:
            return False
    return True


def _recorded_address() -> str | None:
    """Return the address in RAY_ADDRESS, or in the file that `ray start` writes on its machine; None without both.

    Ray's own "auto" connects to any Ray process that it can find. That may be the private cluster of another
    program, and end with it.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    record = Path(get_ray_address_file(None))
    try:
        address, owner = record.read_text().strip(), record.stat().st_uid
    except OSError:
        return None
    # Every account can write to Ray's folder in /tmp, and a cluster can run any code in its drivers.
    if address and owner not in (0, os.getuid()):
        raise ClusterAddressError(
            f"{record} names the cluster {address!r} but belongs to another account; name a cluster that you "
            f"trust with --address or RAY_ADDRESS; 'local' starts one here"
        )
    return address or None


def _start(num_cpus: int | None) -> None:
    """Start a cluster of one node. Only programs on this machine that hold the user's token can reach it."""
    # At each start Ray warns that its token authentication is on. That is intended.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    ensure_token()
    keep_token_private()
    try:
        _init("local", num_cpus=num_cpus, include_dashboard=False)
    # A plain Exception: Ray has no kind of its own for a node whose processes do not come up in time.
    except Exception as error:
        if isinstance(error, ValueError):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ClusterAddressError(
            f"Ray did not start on this machine ({reason}); nothing has begun. Try again when less runs here, or "
            "with fewer --num-workers"
        ) from error


def _join(address: str) -> None:
    keep_token_private()
    if address != "auto":
        _check_answers(address)
    try:
        _init(address)
    # Ray has no common class for these: a token refused, another version, a client server that is not one.
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterAddressError(
            f"cannot use the Ray cluster at {address!r}: {error}. It must be of version {ray.__version__} "
            f"and its token in RAY_AUTH_TOKEN or ~/.ray/auth_token, with RAY_AUTH_MODE=token"
        ) from error


def _init(address: str, **options: Any) -> None:
    # Only loopback addresses need this; Ray handles the network's addresses correctly.
    with (
        _own_sigterm_handler(),
        _loopback_as_such() if _may_be_loopback(address) else contextlib.nullcontext(),
    ):
        # Only the driver writes to the terminal. What workers print is in Ray's logs; their errors are events.
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **options)


@contextlib.contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Keep the program's own handler of SIGTERM, which `ray.init` replaces by one that exits with status 1.

    A scheduler ends a job by this signal. The sweep must then say how to resume, and exit as after Ctrl-C.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _loopback_as_such() -> Iterator[None]:
    """Make Ray keep 127.0.0.1 where it would replace it by the machine's address.

    A new node then has this address, all its servers listen only there, and a driver finds it there. On macOS
    Ray does this itself, by this constant. `_node_ip_address="127.0.0.1"` does not help: Ray replaces it too.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _may_be_loopback(address: str) -> bool:
    return address in ("local", "auto") or _parse(address)[0] in ("127.0.0.1", "localhost", "::1")


def _check_answers(address: str) -> None:
    """Raise ClusterAddressError unless something at the address answers as Ray's servers do."""
    host, port = _parse(address)
    try:
        with socket.create_connection((host, port), SECONDS_TO_ANSWER) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return  # the greeting would have to be encrypted
            connection.sendall(HTTP2_GREETING)
            header = connection.recv(9)
    except OSError as error:
        raise ClusterAddressError(
            f"no Ray cluster answers at {address!r}: {error or type(error).__name__}. Does its head run, and "
            f"is the port open to this machine? 'local' starts a cluster here instead"
        ) from error
    if len(header) < 9 or header[3] != HTTP2_SETTINGS:
        raise ClusterAddressError(f"what answers at {address!r} is no Ray cluster")


def _parse(address: str) -> tuple[str, int]:
    is_client = address.startswith("ray://")
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator and is_client:
        host, port = port, str(DEFAULT_CLIENT_PORT)
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ClusterAddressError(
            f"a Ray address is 'local', 'auto', 'host:port' or 'ray://host:port', not {address!r}"
        )
    return host.strip("[]"), int(port)


def _describe(address: str, *, is_local: bool) -> Session:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Session(address, is_local, resources.get("CPU", 0.0), resources.get("GPU", 0.0))
