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


def refusal(url: str) -> str:
    with pytest.raises(ValueError, match="cannot be written") as refused:
        RunDirectory(url).check_writable()
    assert url in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("answer", REFUSALS)
def test_what_the_store_answers_is_explained(answer, gateway, s3_url) -> None:
    gateway.choose = lambda _method, _path: answer
    reason, advice = REFUSALS[answer]
    said = refusal(f"{s3_url}/run")
    assert reason in said
    assert advice in said.rpartition(";")[2]


def test_a_bucket_that_may_only_be_read_is_refused(gateway, s3_url) -> None:
    gateway.choose = lambda method, _path: "403 AccessDenied" if method in ("PUT", "DELETE") else None
    assert "the credentials do not permit it" in refusal(f"{s3_url}/run")


def test_credentials_that_may_not_delete_are_refused(gateway, s3_url) -> None:
    gateway.choose = lambda method, _path: "403 AccessDenied" if method in ("DELETE", "POST") else None
    assert "the credentials do not permit it" in refusal(f"{s3_url}/run")


@pytest.fixture
def without_credentials(monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_ALLOW_HTTP"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def test_without_credentials_and_without_a_role_the_variables_to_set_are_named(
    gateway, s3_url, without_credentials, monkeypatch
) -> None:
    # Where an instance of AWS asks for its role's credentials.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", gateway.url)
    gateway.choose = lambda _method, _path: "404 NotFound"
    said = refusal(f"{s3_url}/run")
    assert "no credentials were found" in said
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said


@pytest.mark.parametrize("answer", ["400 ExpiredToken", "403 AccessDenied"])
def test_a_command_ends_with_2_before_any_work(answer, gateway, s3_url) -> None:
    gateway.choose = lambda method, _path: answer if method == "PUT" else None
    command = [sys.executable, *COMMAND.split(), "--output", f"{s3_url}/run"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {s3_url}/run cannot be written: ")
    assert REFUSALS[answer][1] in done.stderr
    assert "Traceback" not in done.stderr
    assert {request.method for request in gateway.requests} <= {"GET", "HEAD", "PUT"}
    assert len([request for request in gateway.requests if request.method == "PUT"]) == 1
