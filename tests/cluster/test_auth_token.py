"""The file with a user's token: only its owner can read it, whoever wrote it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from cluster.auth_token import ensure_token, keep_token_private
from cluster.session import connect


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home without a token; the environment has no token either."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_new_token_is_its_owners_alone_whatever_the_umask(home, no_umask) -> None:
    ensure_token()
    assert permissions(home / ".ray") == 0o700
    assert permissions(home / ".ray/auth_token") == 0o600
    assert len((home / ".ray/auth_token").read_text()) == 64
    assert [path.name for path in (home / ".ray").iterdir()] == ["auth_token"]


def test_a_token_that_is_there_stays_and_becomes_private(home) -> None:
    write_for_everyone(home)
    ensure_token()
    keep_token_private()
    assert (home / ".ray/auth_token").read_text() == "mine"
    assert permissions(home / ".ray") == 0o700
    assert permissions(home / ".ray/auth_token") == 0o600


def test_joining_a_cluster_makes_it_private_too(home) -> None:
    write_for_everyone(home)
    ray.shutdown()
    with pytest.raises(ValueError, match="a Ray address is"), connect("nonsense"):
        pass
    assert permissions(home / ".ray/auth_token") == 0o600


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_that_is_given_otherwise_needs_no_file(home, name, monkeypatch) -> None:
    monkeypatch.setenv(name, "elsewhere")
    ensure_token()
    keep_token_private()
    assert not (home / ".ray").exists()


def write_for_everyone(home: Path) -> None:
    """Write a token as Ray does, or as others could have changed it."""
    (home / ".ray").mkdir()
    (home / ".ray").chmod(0o777)
    (home / ".ray/auth_token").write_text("mine")
    (home / ".ray/auth_token").chmod(0o644)


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
