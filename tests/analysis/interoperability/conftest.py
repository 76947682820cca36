"""A small real run of every sweep, made once."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def real_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/attack`, `runs/generate` and so on, as `make_runs.py` says."""
    folder = tmp_path_factory.mktemp("real")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    command = [sys.executable, str(Path(__file__).with_name("make_runs.py")), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def in_real_runs(real_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of the test's own, in which `runs` are the real ones."""
    (tmp_path / "runs").symlink_to(real_runs / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path
