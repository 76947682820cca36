"""The progress bar is for a terminal alone."""

import subprocess
import sys

import pytest

CODE = """
from sweeps.progress import Progress
with Progress("attack", 3, lambda snapshot: None) as progress:
    progress.commit("one", 10)
"""


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_no_bar_is_drawn_into_a_pipe_whatever_the_environment_says(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")  # as the shell of a notebook has it
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stderr
    assert "━" not in done.stderr
