"""A report of a run in a bucket, written to a bucket, on a server that speaks S3's protocol."""

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from moto.server import ThreadedMotoServer

from analysis.report.__main__ import main
from sweeps.store import RunDirectory


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with the bucket `reports`, empty."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/reports", method="PUT")):
        pass
    yield endpoint
    server.stop()


@pytest.mark.usefixtures("endpoint")
def test_pages_in_a_bucket_are_served_as_what_they_are(make_run: Callable[..., Path]) -> None:
    run = make_run("s3://reports/run", num_classes=1)
    for _ in range(2):  # a report replaces an earlier one
        main([str(run), "--output", "s3://reports/site"])
    site = RunDirectory("s3://reports/site").files.store
    for path, kind in [
        ("index.html", "text/html"),
        ("run-0/class-0000.html", "text/html"),
        ("assets/report.css", "text/css"),
        ("assets/report.js", "text/javascript"),
        ("run-0/thumbnails/0000-0.webp", "image/webp"),
        ("run-0/judge-accuracy.csv", "text/csv"),
    ]:
        assert obstore.get(site, path).attributes["Content-Type"] == kind
    with pytest.raises(ValueError, match="lies in the run directory"):
        main([str(run), "--output", "s3://reports/run"])
