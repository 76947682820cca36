"""A gateway in front of an S3 server that does to requests what networks and stores do to them."""

import http.client
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sweeps.store import run_directory
from sweeps.store.cloud_files import PATIENT, QUICK

# Nothing is answered until the client has gone or this many seconds have passed.
SECONDS_OF_SILENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What arrived at the gateway, and when."""

    method: str
    path: str
    seconds: float
    fault: str | None


@dataclass
class Gateway:
    """A proxy that passes requests on to an S3 server, except those with a fault.

    `choose` names a request's fault by its method and path, None for none; it may be replaced. Faults:

    "503 SlowDown"      any status and code: answered in place of the store, the request is not passed on
    "503 after"         any status: the request is passed on, its answer is lost
    "silence"           no answer
    "reset before"      the connection is reset (RST) before the request is passed on,
    "reset after"       after it,
    "reset amid"        amid the body of the answer
    """

    url: str = ""
    choose: Callable[[str, str], str | None] = lambda _method, _path: None
    requests: list[Request] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail_first(self, count: int, method: str, fault: str) -> None:
        """Fail the next `count` requests of this method."""
        left = [count]

        def choose(arrived: str, _path: str) -> str | None:
            if arrived != method or left[0] == 0:
                return None
            left[0] -= 1
            return fault

        self.choose = choose

    def admit(self, method: str, path: str) -> str | None:
        with self._lock:
            fault = self.choose(method, path)
            self.requests.append(Request(method=method, path=path, seconds=time.monotonic(), fault=fault))
        return fault


@contextmanager
def gateway_before(endpoint: str) -> Iterator[Gateway]:
    """Run a gateway on a free port of the loopback interface, in threads of this process."""
    gateway = Gateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = gateway.admit(self.command, self.path)
            if fault == "reset before":
                self.reset()
            elif fault == "silence":
                gateway.closed.wait(SECONDS_OF_SILENCE)
                self.reset()
            elif fault is not None and fault[0].isdigit() and not fault.endswith(" after"):
                self.refuse(*fault.split())
            else:
                self.pass_on(body, fault)

        def pass_on(self, body: bytes, fault: str | None) -> None:
            status, headers, answer = _send_on(endpoint, self.command, self.path, dict(self.headers), body)
            if fault == "reset after":
                self.reset()
            elif fault is not None and fault.endswith(" after"):
                self.refuse(*fault.split())
            else:
                self.answer(status, headers, answer, len(answer) // 2 if fault == "reset amid" else None)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward  # noqa: N815

        def refuse(self, status: str, code: str) -> None:
            self.answer(int(status), [], f"<Error><Code>{code}</Code></Error>".encode(), None)

        def answer(self, status: int, headers, content: bytes, cut: int | None) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = len(content)
            if self.command == "HEAD":
                length = next((int(v) for n, v in headers if n.lower() == "content-length"), 0)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[:cut])
            if cut is not None:
                self.reset()

        def reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def shutdown_request(self, request) -> None:
            # Without the orderly end that the base class sends first: a reset connection has none.
            self.close_request(request)

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    gateway.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield gateway
    finally:
        gateway.closed.set()
        server.shutdown()
        server.server_close()


def _send_on(endpoint: str, method: str, path: str, headers: dict[str, str], body: bytes):
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"))
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()


# The sweeps' rules of retrying, with pauses a tenth as long.
HURRIED, HURRIED_PATIENT = (
    rule
    | {
        "backoff": rule["backoff"]
        | {name: rule["backoff"][name] / 10 for name in ("init_backoff", "max_backoff")}
    }
    for rule in (QUICK, PATIENT)
)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Shorten the retry pauses of run directories to a tenth; return the rule for users at a terminal."""
    monkeypatch.setattr(run_directory, "QUICK", HURRIED)
    monkeypatch.setattr(run_directory, "PATIENT", HURRIED_PATIENT)
    return HURRIED


@pytest.fixture
def gateway(s3_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Yield a gateway before the tests' S3 server; the environment names it as the endpoint."""
    with gateway_before(s3_endpoint) as gateway:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gateway.url)
        yield gateway


@pytest.fixture
def s3_process(use_s3: Callable[[str], None], tmp_path: Path) -> Iterator[Gateway]:
    """Yield a gateway before an S3 server in a process of its own; the environment names the gateway."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        (tmp_path / "moto.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        _wait_for(port)
        with gateway_before(f"http://127.0.0.1:{port}") as gateway:
            use_s3(gateway.url)
            request = urllib.request.Request(f"{gateway.url}/sweeps", method="PUT")
            urllib.request.urlopen(request).close()
            yield gateway
        server.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the S3 server does not start"
            time.sleep(0.1)
