"""The analysis of a run in a bucket, on a server that speaks S3's protocol."""

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from analysis import load
from analysis.generation import contact_sheets

MakeRun = Callable[..., Path]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/runs", method="PUT")):
        pass
    yield "s3://runs"
    server.stop()


def test_a_run_in_a_bucket_reads_as_one_on_a_disk(make_run: MakeRun, bucket: str) -> None:
    local, remote = make_run(), make_run(f"{bucket}/sweep")
    keys = ["default/2/1", "plain/0/0"]
    ours, theirs = load.results(remote), load.results(local)
    assert ours.drop(columns="image_file").equals(theirs.drop(columns="image_file"))
    for image, expected in zip(load.images(remote, keys), load.images(local, keys), strict=True):
        assert np.array_equal(image, expected)


def test_contact_sheets_of_a_run_in_a_bucket(
    make_run: MakeRun, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contact_sheets.main([make_run(f"{bucket}/sweep"), "--recipe", "plain", "--output", str(tmp_path)])
    assert Path(capsys.readouterr().out.strip()).exists()


@pytest.mark.parametrize("url", ["s3://runs/nothing-there", "s3://no-such-bucket/run", "ftp://runs/run"])
def test_a_url_without_a_run_is_named(bucket: str, url: str) -> None:
    with pytest.raises(ValueError, match=url):
        load.results(url)
