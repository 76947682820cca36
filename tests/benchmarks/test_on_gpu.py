"""The check on a card runs whole on a machine without one, and a part that fails takes no other with it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "on_gpu.py"


def run(output: Path, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Return the exit status, the results and the tables of a quick run on the CPU."""
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick", "--output", str(output), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # other tests have the other cores
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=1800)
    results = json.loads((output / "on_gpu.json").read_text())["results"]
    return done.returncode, results, (output / "on_gpu.md").read_text()


@pytest.mark.long
def test_all_parts_pass_on_the_cpu(tmp_path: Path) -> None:
    status, results, tables = run(tmp_path)
    wrong = [each for each in results if each["kind"] == "Failure" or each.get("passed") is False]
    assert (status, wrong) == (0, [])
    rates = {each["name"] for each in results if each["kind"] == "Rate"}
    for name in (
        "ResNet-50",
        "lite0",
        "training",
        "attack_all.py",
        "generate_all.py",
        "attribute_training.py",
    ):
        assert any(name in rate for rate in rates), name
    assert "| speed | unit | ours | / bare loop | / its CUDA graph |" in tables


@pytest.mark.long
def test_a_part_that_fails_is_recorded_with_its_error(tmp_path: Path) -> None:
    status, results, tables = run(
        tmp_path, "--parts", "tapes,training_speed", "--data", str(tmp_path / "none")
    )
    assert status == 1
    failed = {each["name"]: each["error"] for each in results if each["kind"] == "Failure"}
    assert set(failed) == {"tapes", "training_speed"}
    assert "Traceback" in failed["tapes"]
    assert "data_root" in tables
