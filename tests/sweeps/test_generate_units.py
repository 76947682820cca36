"""Sweeps of units on the small real model: what they write, how they grow, what they refuse."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from attrib_core.classifiers import load_classifier
from attrib_core.generation import generate_units
from sweeps.cli import default_output
from sweeps.generate_all import GenerateOptions, main
from sweeps.schemas import unit_images, unit_results
from sweeps.store import RunDirectory
from sweeps.store.verification import verify

OPTIONS = ("--model", "fashion_deep", "--recipes", "plain", "--num-steps", "3", "--batch-size", "4")
AXES = ["recipe", "layer", "unit", "seed", "member"]
# What may differ between two runs of the same cells.
OF_THE_RUN = ["shard_id", "attempt", "image_file", "seconds"]


@pytest.fixture
def generate(in_this_process: None, tmp_path: Path) -> Callable[..., Path]:
    """Runs the sweep with these options in a run directory of this name."""

    def run(*options: str, name: str = "run") -> Path:
        assert main(["--output", str(tmp_path / name), *OPTIONS, *options]) == 0
        return tmp_path / name

    return run


def rows(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "results").sort_values(AXES).reset_index(drop=True)


def pictures(run: Path) -> dict[str, bytes]:
    return {row["key"]: row["image"]["bytes"] for row in pq.read_table(run / "images").to_pylist()}


def test_a_sweep_writes_a_row_and_a_picture_for_each_unit_and_grows(generate) -> None:
    run = generate("--units", "conv3:0-1,conv3:5:center,hidden1:2", "--shard-size", "2")
    table, first = pq.read_table(run / "results"), rows(run)
    assert table.schema.remove_metadata().equals(unit_results().remove_metadata())
    assert list(zip(first["layer"], first["unit"], first["member"], strict=True)) == [
        *(("conv3", unit, 0) for unit in ("0", "1", "5:center")),
        ("hidden1", "2", 0),
    ]
    assert {len(each) for each in (*first["activation_by_step"], *first["loss_by_step"])} == {3}
    images = pq.read_table(run / "images")
    assert images.schema.remove_metadata().equals(unit_images().remove_metadata())
    assert set(pictures(run)) == set(first["image_key"])
    assert not any("." in key for key in pictures(run))
    files = {file: file.stat().st_mtime_ns for file in (run / "results").iterdir()}
    generate("--units", "conv3:0-2,head:0", "--seeds", "0-1", "--recipes", "plain,fast")
    assert all(file.stat().st_mtime_ns == time for file, time in files.items())
    grown = rows(run)
    assert len(grown) == 4 * 2 * 2 + 2  # conv3:5:center and hidden1:2 have no more than they had
    assert verify(RunDirectory(run)).problems == []


def test_a_picture_depends_on_no_shard_batch_or_neighbour(generate) -> None:
    first = generate("--units", "conv3:0-3,hidden1:0", "--shard-size", "8")
    second = generate("--units", "hidden1:0,conv3:3,0-2", "--shard-size", "3", name="other")
    assert pictures(first) == pictures(second)
    pd.testing.assert_frame_equal(*(rows(run).drop(columns=OF_THE_RUN) for run in (first, second)))


def test_the_library_makes_the_same_pictures(generate) -> None:
    found = rows(generate("--units", "conv3:0-1"))
    made = generate_units(load_classifier("fashion_deep"), "conv3:0-1", recipe="plain:num_steps=3")["conv3"]
    expected = made.activation_by_step.numpy()
    np.testing.assert_allclose(np.stack(found["activation_by_step"]), expected, rtol=1e-4, atol=1e-5)


def test_members_are_rows_of_one_cell_and_their_number_is_the_runs(generate, capsys, tmp_path) -> None:
    run = generate("--units", "conv3:0-1", "--diversity", "3")
    found = rows(run)
    assert list(zip(found["unit"], found["member"], strict=True)) == [
        (unit, member) for unit in "01" for member in range(3)
    ]
    assert len(set(pictures(run).values())) == 6
    assert verify(RunDirectory(run)).problems == []
    assert main(["--output", str(run), *OPTIONS, "--units", "conv3:0", "--diversity", "2"]) == 2
    assert "diversity: the directory was made with 3, this command asks for 2" in capsys.readouterr().err


def test_directions_are_units_and_other_ones_of_the_same_name_are_refused(
    generate, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    basis = np.eye(16, dtype=np.float32)
    safetensors.numpy.save_file({"d": basis[:2]}, "axes.safetensors")
    run = generate("--units", "conv3:axes.safetensors,conv3:0-1")
    found = rows(run).set_index("unit")
    assert set(found.index) == {"0", "1", "axes.safetensors#d:0", "axes.safetensors#d:1"}
    assert found["activation"].notna().all()
    assert all(len(set(names.str.contains("#"))) == 1 for _, names in rows(run).groupby("shard_id")["unit"])
    safetensors.numpy.save_file({"d": basis[2:4]}, "axes.safetensors")
    assert main(["--output", str(run), *OPTIONS, "--units", "conv3:axes.safetensors"]) == 2
    assert "directions axes.safetensors#d: its definition has changed" in capsys.readouterr().err


MISTAKES = {
    "classes": (
        ["--units", "conv3:0", "--classes", "0-3"],
        "units='conv3:0' and classes='0-3': accepted is one of",
    ),
    "judges": (
        ["--units", "conv3:0", "--judges", "fashion_alexnet"],
        "judges='fashion_alexnet': with --units",
    ),
    "frames": (["--units", "conv3:0", "--frames", "1"], "frames='1': with --units"),
    "layer": (["--units", "conv33:0"], "units='conv33:0': no layer 'conv33'; near matches are conv3"),
    "channel": (["--units", "conv3:16"], "gives [N, C=16, 7, 7]; accepted are channels 0 to 15"),
    "diversity": (["--diversity", "2"], "diversity=2: it is of units"),
    "no members": (["--units", "conv3:0", "--diversity", "0"], "diversity: 0 is not accepted"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_value_that_cannot_be_is_named_with_what_could_be(case, refusal_of) -> None:
    arguments, expected = MISTAKES[case]
    assert expected in refusal_of(main, "--model", "fashion_deep")(*arguments)


def test_an_objective_that_units_cannot_have_is_refused(refusal_of, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def margin(logits, classes):\n    return -logits.sum(1)\n")
    message = refusal_of(main, "--model", "fashion_deep")("--units", "conv3:0", "--recipes", "mine.py:margin")
    assert "recipes: 'mine.py:margin': UserObjective is made for logits of classes" in message


def test_layers_are_listed_without_a_run(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--model", "fashion_deep", "--list-layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(maxsplit=2) == ["layer", "module", "output for N images of 28 x 28"]
    assert lines[1].split(maxsplit=2) == ["conv1", "Conv2d", "[N, C=16, 28, 28]"]
    assert not any(tmp_path.iterdir())


def test_runs_of_units_have_a_folder_of_their_own(monkeypatch) -> None:
    monkeypatch.delenv("ATTRIB_SWEEPS_RUNS", raising=False)
    assert GenerateOptions().output == default_output("generate") == "runs/generate"
    assert default_output("units") == "runs/units"
