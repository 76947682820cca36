"""The generation sweep on the real model: what it writes, how it grows, and what its results depend on."""

import io
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sweeps.generate_all import main
from sweeps.schemas import generate_images, generate_results

REPOSITORY = Path(__file__).parents[2]
JUDGES = ("efficientnet_lite1", "efficientnet_lite2")
NUM_STEPS, IMAGE_SIZE, FRAME_EVERY = 5, 64, 2
OPTIONS = {
    "--classes": "0-2",
    "--seeds": "0",
    "--recipes": "fast",
    "--num-steps": str(NUM_STEPS),
    "--image-size": str(IMAGE_SIZE),
    "--frames": "1",
    "--frame-every": str(FRAME_EVERY),
    "--shard-size": "2",
    "--batch-size": "2",
    "--num-workers": "2",
    "--threads-per-worker": "1",
}
# What may differ between two runs of the same cells; `shard_id` only where shards are cut otherwise.
OF_THE_RUN = {"shard_id", "attempt", "image_file", "batch_size", "seconds"}

Content = dict[str, tuple[bytes, int]]


def arguments(output: Path, changed: dict[str, str] | None = None) -> list[str]:
    options = OPTIONS | {"--output": str(output)} | (changed or {})
    return [word for option in options.items() for word in option]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory made as a user makes one: by the script, in a process of its own."""
    output = tmp_path_factory.mktemp("runs") / "generate"
    command = [sys.executable, "sweeps/generate_all.py", *arguments(output, {"--address": "local"})]
    environment = os.environ | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    # A log, as there is no terminal: nothing but what a user needs to know.
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"configuration: output={output} ")
    assert lines[1] == f"generate: 2 shards in {output} on 2 workers x 1 threads"
    assert all(re.match("[012]/2 shards, ", line) for line in lines[2:-1]), lines  # on a slow machine
    assert lines[-1] == f"All 2 shards are committed in {output}"
    return output


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    """A run directory of this test's own that holds what the script has made."""
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


@pytest.fixture
def generate(in_this_process: None, tmp_path: Path) -> Callable[..., Path]:
    """Runs the sweep with changed options, in a new run directory if none is given."""

    def run(changed: dict[str, str], output: Path = tmp_path / "run") -> Path:
        assert main(arguments(output, {"--num-workers": "1"} | changed)) == 0
        return output

    return run


def rows(run: Path) -> pa.Table:
    return pq.read_table(run / "results").sort_by(
        [("recipe", "ascending"), ("seed", "ascending"), ("class_index", "ascending")]
    )


def images(run: Path) -> dict[str, dict]:
    return {row["key"]: row for row in pq.read_table(run / "images").to_pylist()}


def pixels(row: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))


def content(run: Path) -> Content:
    """Bytes and time of every file below results/ and images/."""
    files = [*(run / "results").iterdir(), *(run / "images").iterdir()]
    return {str(file.relative_to(run)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def test_results_have_the_columns_of_the_schema_and_a_row_for_each_cell(finished_run) -> None:
    table = rows(finished_run)
    assert table.schema.remove_metadata().equals(generate_results(JUDGES).remove_metadata())
    assert table["class_index"].to_pylist() == [0, 1, 2]
    assert set(table["num_steps"].to_pylist()) == {NUM_STEPS}
    for column in ("logit_by_step", "loss_by_step", "argmax_by_step"):
        assert {len(values) for values in table[column].to_pylist()} == {NUM_STEPS}


def test_any_parquet_reader_opens_results_while_bookkeeping_lies_beside_them(finished_run) -> None:
    frame = pd.read_parquet(finished_run / "results")
    assert sorted(frame["class_index"]) == [0, 1, 2]
    assert set(frame["judge_top1"].iloc[0]) == set(JUDGES)
    assert (finished_run / "_SUCCESS").exists()


def test_every_row_names_an_image_that_decodes_to_the_size_asked_for(finished_run) -> None:
    by_key = images(finished_run)
    schema = pq.read_schema(next((finished_run / "images").iterdir()))
    assert schema.remove_metadata().equals(generate_images(1000).remove_metadata())
    for row in rows(finished_run).to_pylist():
        image = by_key[row["image_key"]]
        assert pixels(image).shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
        assert {name: image[name] for name in ("class_index", "seed", "recipe", "step")} == {
            "class_index": row["class_index"],
            "seed": row["seed"],
            "recipe": row["recipe"],
            "step": NUM_STEPS,
        }
        assert image["key"] in pq.read_table(finished_run / "images" / row["image_file"])["key"].to_pylist()
        assert row["top1"] == np.argmax(image["logits"])
        assert row["logit"] == image["logits"][row["class_index"]]


def test_frames_of_the_chosen_classes_are_stored_every_few_steps_with_all_logits(finished_run) -> None:
    by_class: dict[int, list[dict]] = {0: [], 1: [], 2: []}
    for image in images(finished_run).values():
        by_class[image["class_index"]].append(image)
    steps = {index: sorted(image["step"] for image in found) for index, found in by_class.items()}
    assert steps[0] == steps[2] == [NUM_STEPS]
    assert steps[1][-1] == NUM_STEPS
    assert set(steps[1][:-1]) == {step for step in range(NUM_STEPS) if step % FRAME_EVERY == 0}
    assert {pixels(image).shape for image in by_class[1]} == {(IMAGE_SIZE, IMAGE_SIZE, 3)}
    assert {len(image["logits"]) for image in by_class[1]} == {1000}
    assert len({image["image"]["bytes"] for image in by_class[1]}) == len(steps[1]), (
        "an image changes as it grows"
    )


def test_the_same_command_again_changes_no_file(copied_run, capsys) -> None:
    before = content(copied_run), (copied_run / "sweep.json").read_bytes()
    assert main(arguments(copied_run)) == 0  # without any Ray: there is nothing to compute
    assert (content(copied_run), (copied_run / "sweep.json").read_bytes()) == before
    assert capsys.readouterr().err == f"All 2 shards are committed in {copied_run}\n"


@pytest.mark.long
def test_more_seeds_and_recipes_compute_the_new_cells_alone(copied_run, generate, capsys) -> None:
    before = content(copied_run)
    generate({"--seeds": "0-1", "--recipes": "fast,blur"}, copied_run)
    after = content(copied_run)
    assert {name: after[name] for name in before} == before
    cells = sorted(
        zip(*(rows(copied_run)[name].to_pylist() for name in ("recipe", "seed", "class_index")), strict=True)
    )
    assert cells == [
        (recipe, seed, index) for recipe in ("blur", "fast") for seed in (0, 1) for index in range(3)
    ]
    assert (copied_run / "_SUCCESS").exists()

    assert main(arguments(copied_run)) == 0, "the first command is part of what the directory holds by now"
    assert content(copied_run) == after


def test_a_finished_part_of_an_unfinished_directory_is_no_success(copied_run, capsys) -> None:
    (copied_run / "_SUCCESS").unlink()
    next(iter((copied_run / "results").glob("*class2*"))).unlink()
    assert main(arguments(copied_run, {"--classes": "0-1"})) == 0
    assert "not complete yet" in capsys.readouterr().err
    assert not (copied_run / "_SUCCESS").exists()


@pytest.mark.long
def test_results_do_not_depend_on_workers_batches_or_shards(finished_run, generate) -> None:
    run = generate({"--num-workers": "1", "--batch-size": "3", "--shard-size": "3"})
    expected, found = rows(finished_run), rows(run)
    for name in set(expected.column_names) - OF_THE_RUN:
        assert found[name].to_pylist() == expected[name].to_pylist(), name
    expected_images, found_images = images(finished_run), images(run)
    assert found_images == expected_images


def test_a_plan_prints_shards_cells_bytes_and_time_and_makes_nothing(tmp_path, capsys) -> None:
    output = tmp_path / "run"
    assert main([*arguments(output, {"--seeds": "0-1"}), "--plan"]) == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["classes"] == "0-2"
    assert lines["settings.image_size"] == str(IMAGE_SIZE)
    assert lines["shards"] == "3, of which 3 remain"
    assert lines["cells"] == "6, of which 6 remain"
    assert {"bytes", "time"} <= lines.keys()
    assert list(tmp_path.iterdir()) == []


def test_a_plan_counts_what_this_command_asks_for_and_lacks(copied_run, capsys) -> None:
    before = content(copied_run), (copied_run / "sweep.json").read_bytes()
    assert main([*arguments(copied_run, {"--classes": "0-4"}), "--plan"]) == 0
    output = capsys.readouterr().out
    assert "shards: 3, of which 1 remain\ncells: 5, of which 2 remain\n" in output
    assert (content(copied_run), (copied_run / "sweep.json").read_bytes()) == before
