"""A store that will not have a run is refused before work starts, with the reason and what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.store import RunDirectory

REPOSITORY = Path(__file__).parents[3]
# What the store answers, what is wrong, what to do.
REFUSALS = {
    "403 InvalidAccessKeyId": ("does not accept the credentials", "set AWS_ACCESS_KEY_ID"),
    "403 SignatureDoesNotMatch": ("does not accept the credentials", "set AWS_ACCESS_KEY_ID"),
    "400 InvalidToken": ("does not accept the credentials", "set AWS_ACCESS_KEY_ID"),
    "400 ExpiredToken": ("the credentials have expired", "renew AWS_SESSION_TOKEN"),
    "403 RequestTimeTooSkewed": ("this machine's clock is wrong", "log in again"),
    "403 AccessDenied": ("the credentials do not permit it", "list, read, write and delete"),
    "404 NoSuchBucket": ("the bucket does not exist", "create it first"),
    "301 PermanentRedirect": ("the bucket is in another region", "set AWS_REGION"),
    "503 SlowDown": ("the store is overloaded or down", "try again later"),
    "reset before": ("the store does not answer", "AWS_ENDPOINT_URL"),
}
COMMAND = "sweeps/attack_all.py --images 0-3 --methods fgsm --epsilons 0.1 --num-workers 1 --address local"


@pytest.mark.parametrize("answer", REFUSALS)
def test_what_the_store_answers_is_explained(refusal, answer, gateway, s3_url, hurried) -> None:
    gateway.choose = lambda _method, _path: answer
    reason, advice = REFUSALS[answer]
    said = refusal(f"{s3_url}/run")
    assert reason in said
    assert advice in said.rpartition(";")[2]


def test_a_silent_store_is_refused_after_its_time(refusal, gateway, s3_url, hurried, monkeypatch) -> None:
    monkeypatch.setenv("AWS_TIMEOUT", "0.05 seconds")  # obstore's own is half a minute
    gateway.choose = lambda _method, _path: "silence"
    assert "the store does not answer" in refusal(f"{s3_url}/run")


def test_a_bucket_that_may_only_be_read_is_refused(refusal, gateway, s3_url) -> None:
    gateway.choose = lambda method, _path: "403 AccessDenied" if method in ("PUT", "DELETE") else None
    assert "the credentials do not permit it" in refusal(f"{s3_url}/run")


def test_credentials_that_may_not_delete_are_refused(refusal, gateway, s3_url) -> None:
    gateway.choose = lambda method, _path: "403 AccessDenied" if method in ("DELETE", "POST") else None
    assert "the credentials do not permit it" in refusal(f"{s3_url}/run")


@pytest.fixture
def without_credentials(monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_ALLOW_HTTP"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def test_without_credentials_and_without_a_role_the_variables_to_set_are_named(
    refusal, gateway, s3_url, without_credentials, monkeypatch
) -> None:
    # Where an instance of AWS asks for its role's credentials.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", gateway.url)
    gateway.choose = lambda _method, _path: "404 NotFound"
    said = refusal(f"{s3_url}/run")
    assert "no credentials were found" in said
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said


def test_a_silent_service_of_roles_is_no_wait_without_end(
    refusal, gateway, s3_url, without_credentials, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", gateway.url)
    monkeypatch.setenv("AWS_TIMEOUT", "0.05 seconds")
    gateway.choose = lambda _method, _path: "silence"
    assert "no credentials were found" in refusal(f"{s3_url}/run")


def test_half_of_the_credentials_is_refused(refusal, s3_url, monkeypatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    said = refusal(f"{s3_url}/run")
    assert "half of the credentials is missing" in said
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said


def test_a_file_of_credentials_that_is_not_there_is_refused(refusal, monkeypatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
    assert "give a file that is there in GOOGLE_APPLICATION_CREDENTIALS" in refusal("gs://bucket/run")


@pytest.mark.parametrize("endpoint", ["", "localhost:9000", "http://", "ftp://host", "http://host/a b"])
def test_an_endpoint_that_is_no_url_is_refused_by_its_name(endpoint, s3_url, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ValueError, match=f"AWS_ENDPOINT_URL: '{endpoint}' is not accepted; accepted: https:"):
        RunDirectory(f"{s3_url}/run").check_writable()


def test_reading_from_a_missing_bucket_says_so(s3_url) -> None:
    with pytest.raises(ValueError, match=r"cannot be read: the bucket does not exist .*; create it first"):
        RunDirectory("s3://no-such-bucket/run").read_sweep()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )


def test_a_sweep_that_may_not_write_ends_with_2_before_any_work(gateway, s3_url) -> None:
    gateway.choose = lambda method, _path: "403 AccessDenied" if method == "PUT" else None
    done = run(*COMMAND.split(), "--output", f"{s3_url}/run")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""  # Ray would have said that it starts
    assert done.stderr.startswith(f"error: {s3_url}/run cannot be written: the credentials do not permit it")
    assert done.stderr.count("\n") == 1
    assert [request.method for request in gateway.requests].count("PUT") == 1


def test_maintenance_with_expired_credentials_ends_with_2(gateway, s3_url) -> None:
    gateway.choose = lambda _method, _path: "400 ExpiredToken"
    done = run("-m", "sweeps.store", "status", f"{s3_url}/run")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {s3_url}/run cannot be read: the credentials have expired")
    assert done.stderr.count("\n") == 1
