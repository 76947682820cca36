"""A shard that fails for good is set aside with its traceback, the rest completes, a resume tries again."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
POISONED = "tests/faults/poisoned_sweep.py"


def test_a_poison_shard_is_quarantined_until_the_code_is_repaired(
    start, num_committed, check_complete, tmp_path
) -> None:
    run = tmp_path / "run"
    driver = start(run, "--max-attempts", "2", script=POISONED)
    assert driver.wait() == 1, driver.said()
    [failure] = (run / "failures").iterdir()
    shard = failure.stem
    assert shard.startswith("fast-seed0-class5-")
    record = json.loads(failure.read_text())
    assert record["attempts"] == 2
    assert "ArithmeticError: the fifth class is poison" in record["traceback"]
    said = driver.said()
    assert f"quarantined {shard} after 2 attempts: ArithmeticError: the fifth class is poison" in said
    assert said.endswith(f"1 shards are quarantined in {run}/failures/:\n  {shard}\n")
    assert "Traceback" not in said
    assert num_committed(run) == 23
    assert not (run / "_SUCCESS").exists()

    repaired = start(run)
    assert repaired.wait() == 0, repaired.said()
    check_complete(run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Room for the check that a run directory is writable, and not for much more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1100k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_costs_the_shards_that_found_no_room_until_there_is_some(
    start, small_disk
) -> None:
    frames = ("--frames", "0-23", "--frame-every", "1", "--max-attempts", "1", "--shard-size", "4")
    driver = start(small_disk / "run", *frames)
    assert driver.wait() == 1, driver.said()
    said = driver.said()
    assert "Traceback" not in said
    assert "No space left on device" in said
    assert "shards are quarantined" in said

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    again = start(small_disk / "run", *frames)
    assert again.wait() == 0, again.said()
    assert (small_disk / "run" / "_SUCCESS").exists()
