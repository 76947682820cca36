"""Shards that fail for good are set aside with their tracebacks, the rest completes, a resume tries again."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.long
FAULTY = "tests/faults/faulty_sweep.py"
# What goes wrong in a shard, which one (behind the class comes a digest in its id), and what is said of it then.
POISONS = {
    "raise": ("class3-", "ArithmeticError: fast-seed0-class3-"),
    "kill": ("class9-", "died"),
    "hang": ("class15-", "shard_timeout is 15 s"),
}
# Far more than a shard takes on a busy machine, where actors also wait for each other.
BOUNDS = ("--max-attempts", "2", "--shard-timeout", "15")


def test_poison_shards_are_quarantined_until_the_code_is_repaired(
    start, described, num_committed, check_complete, tmp_path
) -> None:
    run = tmp_path / "run"
    shards = ",".join(shard for shard, _ in POISONS.values())
    poison = {"FAULTY_SWEEP": "generate", "FAULT": ",".join(POISONS), "FAULT_AT": shards}
    driver = start("generate", run, *BOUNDS, script=FAULTY, **poison)
    assert driver.wait() == 1, driver.said()
    said = driver.said()
    failures = {path.stem: json.loads(path.read_text()) for path in (run / "failures").iterdir()}
    assert len(failures) == len(POISONS)
    for poisoned, reason in POISONS.values():
        [shard] = [name for name in failures if name.startswith(f"fast-seed0-{poisoned}")]
        record = failures[shard]
        assert record["attempts"] >= 2, (
            "an actor that dies with two shards in flight does not show which of them killed it"
        )
        assert reason in record["traceback"]
        assert f"quarantined {shard} after {record['attempts']} attempts: " in said
    # Ray's own words about a dead worker may follow.
    summary = said.partition(f"\n{len(POISONS)} shards are quarantined in {run}/failures/:\n")[2]
    assert set(summary.split()) >= set(failures)
    assert "Traceback" not in said
    assert num_committed(run) == described["generate"].num_shards - len(POISONS)
    assert not (run / "_SUCCESS").exists()

    repaired = start("generate", run)
    assert repaired.wait() == 0, repaired.said()
    check_complete("generate", run)


@pytest.mark.parametrize(("sweep", "whole"), [("attack", 12), ("attribute", 8)])
def test_a_batch_that_does_not_fit_into_memory_is_halved_and_the_rows_say_so(
    sweep, whole, start, undisturbed, check_complete, tmp_path
) -> None:
    run = tmp_path / "run"
    little_room = {"FAULTY_SWEEP": sweep, "FAULT": "out_of_memory", "FAULT_AT": "4"}
    driver = start(sweep, run, script=FAULTY, **little_room)
    assert driver.wait() == 0, driver.said()
    assert batch_sizes(undisturbed(sweep)) == {whole}
    assert batch_sizes(run) == {4}, "half of it, in whole multiples of four"
    check_complete(sweep, run, but_for=("batch_size",))


def batch_sizes(run: Path) -> set[int]:
    return set(pq.read_table(run / "results")["batch_size"].to_pylist())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with room for the check that a run directory is writable, and not for much more."""
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
    driver = start("generate", small_disk / "run", *frames)
    assert driver.wait() == 1, driver.said()
    said = driver.said()
    assert "Traceback" not in said
    assert "No space left on device" in said
    assert "shards are quarantined" in said

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    again = start("generate", small_disk / "run", *frames)
    assert again.wait() == 0, again.said()
    assert (small_disk / "run" / "_SUCCESS").exists()
