"""HTTP on the loopback interface alone: GET and nothing else, for a browser on this machine."""

import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import duckdb

from analysis.run import Run
from analysis.serve.database import Database
from analysis.serve.pages import Viewer
from analysis.serve.responses import NotFound, Response
from analysis.serve.view import BadQuery
from sweeps.store.terminal_text import terminal_text

ADDRESS = "127.0.0.1"

# A page of another origin can have its name point here (DNS rebinding); its requests still carry that name.
_HOSTS = re.compile(r"(localhost|127\.0\.0\.1)(:\d{1,5})?", re.IGNORECASE)

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class ViewerServer(ThreadingHTTPServer):
    """The server of a viewer, on a port of the loopback interface; 0 is any free one. ValueError if taken."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.viewer: Viewer | None = None
        if not 0 <= port <= 65535:
            raise ValueError(f"port is {port}: give a number from 1 to 65535, or 0 for any that is free")
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            advice = (
                f"choose another with --port, such as --port {port % 65535 + 1}, or --port 0 for any free one"
            )
            raise ValueError(
                f"port {port} of {ADDRESS} cannot be used ({error.strerror}): {advice}"
            ) from error

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that goes to another page closes the connection.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ViewerServer
    server_version, sys_version = "attrib-sweeps", ""
    timeout = 60

    def do_GET(self) -> None:
        self._send(self._answer())

    def _refuse(self) -> None:
        self._send(_plain(405, f"{self.command} is not answered: this server answers GET", {"Allow": "GET"}))

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse  # noqa: N815

    def _answer(self) -> Response:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not _HOSTS.fullmatch(hosts[0]):
            return _plain(403, f"Host is {', '.join(hosts) or 'missing'}: open {self.server.url}")
        viewer = self.server.viewer
        assert viewer is not None
        path, _, query = self.path.partition("#")[0].partition("?")
        try:
            parts = [unquote(part, errors="strict") for part in path.removeprefix("/").split("/")]
            return viewer.respond(parts, query)
        except UnicodeDecodeError:
            return viewer.error(400, f"path is {path!r}: give UTF-8")
        except BadQuery as error:
            return viewer.error(400, str(error))
        except NotFound as error:
            return viewer.error(404, str(error))
        except (ValueError, OSError, duckdb.Error) as error:
            # Such as a run directory that was deleted, or a full disk.
            return viewer.error(500, str(error))
        except Exception as error:
            # A fault of the viewer's own: the browser is told, and the terminal has where it is.
            traceback.print_exc()
            return viewer.error(
                500, f"the viewer failed, which is its own fault: {type(error).__name__}: {error}"
            )

    def _send(self, response: Response) -> None:
        body = response.body
        self.send_response(response.status)
        for name, value in ({"Content-Type": response.kind} | _HEADERS | response.headers).items():
            self.send_header(name, value)
        if isinstance(body, bytes):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for part in [body] if isinstance(body, bytes) else body:
            self.wfile.write(part)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing: a page is many requests."""


def serve(runs: Sequence[Run], *, port: int, title: str) -> None:
    """Serve the runs until Ctrl-C; print the address once their rows are read."""
    with ViewerServer(port) as server, Database() as database, _ended_by_signal():
        server.viewer = open_viewer(runs, database, title=title)
        print(server.url, flush=True)
        print("Ctrl-C ends the viewer", file=sys.stderr)
        server.serve_forever()


def open_viewer(runs: Sequence[Run], database: Database, *, title: str) -> Viewer:
    """Return a viewer whose rows are read, and say on stderr how long that took."""
    viewer = Viewer(runs, database, title=title)
    for rows in viewer.rows:
        start = time.perf_counter()
        rows.refresh(_tell if sys.stderr.isatty() else lambda done, of: None)
        text = f"{rows.run.name}: {rows.num_rows:,} rows read in {time.perf_counter() - start:.1f} s"
        print(terminal_text(text), file=sys.stderr)
    return viewer


def _tell(done: int, of: int) -> None:
    print(f"\rreading file {done:,} of {of:,}\r", end="", file=sys.stderr, flush=True)


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Let SIGTERM end the process as an exit does, so that the database on disk is removed."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plain(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(
        status=status, kind="text/plain; charset=utf-8", body=f"{message}\n".encode(), headers=headers or {}
    )
