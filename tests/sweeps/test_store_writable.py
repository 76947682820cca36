"""A place that cannot hold a run is refused before work starts, with the reason and what to do."""

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.store import RunDirectory


@pytest.fixture
def mounted(tmp_path) -> Iterator[object]:
    """Yield a function that mounts a small file system, or skips if the tests lack the rights."""
    points: list[Path] = []

    def mount(options: str) -> Path:
        point = tmp_path / f"mounted{len(points)}"
        point.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", point], capture_output=True)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.decode()}")
        points.append(point)
        return point

    yield mount
    for point in points:
        subprocess.run(["umount", point], check=True)


def test_a_writable_place_is_accepted_and_left_as_it_was(run, tmp_path) -> None:
    run.check_writable()
    assert list(tmp_path.iterdir()) == []
    assert list(run.files.list("")) == []


def test_a_run_in_use_is_accepted_and_left_as_it_was(run, commit_shard) -> None:
    commit_shard(run, "plain-a", range(2))
    before = sorted(entry.path for entry in run.files.list(""))
    run.check_writable()
    assert sorted(entry.path for entry in run.files.list("")) == before


def test_a_path_below_a_file_is_refused(refusal, tmp_path) -> None:
    (tmp_path / "file").touch()
    assert "a part of the path is a file" in refusal(tmp_path / "file" / "run")
    assert "it is a file, not a folder" in refusal(tmp_path / "file")


def test_a_kernel_folder_is_refused(refusal) -> None:
    assert "choose another place" in refusal("/proc/run")


def test_a_name_that_is_too_long_is_refused(refusal, tmp_path) -> None:
    assert "the name is too long" in refusal(tmp_path / ("a" * 300))


def test_a_read_only_folder_is_refused(refusal, mounted) -> None:
    assert "the file system is read-only" in refusal(mounted("ro") / "run")


def test_a_full_disk_is_refused_and_left_as_it_was(refusal, mounted) -> None:
    folder = mounted("size=256k")
    assert "no space is left on the device" in refusal(folder / "run")
    assert list(folder.iterdir()) == []


def test_a_missing_bucket_is_refused(refusal, s3_url) -> None:
    assert "the bucket does not exist" in refusal("s3://no-such-bucket/run")


def test_wrong_credentials_are_refused(refusal, s3_url, s3_endpoint) -> None:
    require_credentials(s3_endpoint, after=b"0")
    try:
        assert "the store does not accept the credentials" in refusal(f"{s3_url}/run")
        with pytest.raises(ValueError, match=r"cannot be read: the store does not accept the credentials"):
            RunDirectory(f"{s3_url}/run").read_sweep()
    finally:
        require_credentials(s3_endpoint, after=b"inf")


def test_a_store_that_does_not_answer_is_refused_within_seconds(refusal, s3_url, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    begin = time.monotonic()
    assert "the store does not answer" in refusal(f"{s3_url}/run")
    assert time.monotonic() - begin < 20


def test_plain_http_is_refused_unless_it_is_asked_for(refusal, s3_url, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert "set AWS_ALLOW_HTTP=true" in refusal(f"{s3_url}/run")


def test_azure_without_an_account_is_refused(refusal, monkeypatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    assert "set AZURE_STORAGE_ACCOUNT_NAME" in refusal("az://container/run")


def require_credentials(endpoint: str, after: bytes) -> None:
    """Make moto check the credentials of all requests except the first so many."""
    headers = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", after, headers, method="POST")
    urllib.request.urlopen(request).close()
