"""A request that took effect although its answer was lost is sent again; its writer learns the truth."""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sweeps.store import RunDirectory


@pytest.fixture
def forgetful_run(s3_url, s3_endpoint, monkeypatch) -> Iterator[RunDirectory]:
    """A run in S3 behind a gateway that passes each PUT on twice: the first time it answers 503."""
    answered: set[bytes] = set()

    class Gateway(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, answer = send_on(s3_endpoint, self.path, self.command, dict(self.headers), body)
            first_time = self.command == "PUT" and body not in answered
            answered.add(body)
            self.send_response(503 if first_time else status)
            for name in ("ETag", "Last-Modified", "Content-Type"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield RunDirectory(f"{s3_url}/run")
    server.shutdown()
    server.server_close()


def send_on(endpoint: str, path: str, method: str, headers: dict[str, str], body: bytes):
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"))
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_a_commit_whose_answer_was_lost_has_won_and_keeps_its_images(forgetful_run, commit_shard) -> None:
    image_file, won = commit_shard(forgetful_run, "plain-a", range(2))
    assert won
    assert [entry.name for entry in forgetful_run.images()] == [image_file]
    _, won = commit_shard(forgetful_run, "plain-a", range(2), attempt=2)
    assert not won
    assert [entry.name for entry in forgetful_run.images()] == [image_file]


def test_an_update_whose_answer_was_lost_is_made_once(forgetful_run) -> None:
    for _ in range(3):
        forgetful_run.update_sweep(lambda sweep: {"count": (sweep or {"count": 0})["count"] + 1})
    assert forgetful_run.read_sweep() == {"count": 3}


def test_a_store_that_fails_now_and_then_is_writable(forgetful_run) -> None:
    forgetful_run.check_writable()
    assert list(forgetful_run.files.list("")) == []
