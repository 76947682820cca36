"""The sweep that looks for the strongest images, on the real model and data: rows, growth, what changes no bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch

from analysis.load import images
from attrib_core.activations import NO_PLACE, Activations, StrongestImages, strongest_images
from attrib_core.classifiers import load_classifier
from attrib_core.datasets import View, load_dataset
from sweeps.activations.rows import Measured, Shown
from sweeps.activations_all import main
from sweeps.schemas import activations_images, activations_results
from sweeps.store import RunDirectory
from sweeps.store.verification import verify

UNITS, NUM_IMAGES, TOP = "conv3:0-2,conv3:5:center,hidden1:7", 40, 4
OF_THE_RUN = ["shard_id", "attempt", "image_file", "image_key", "batch_size", "rank_in_shard"]
VIEW = View(image_size=28, channels=1)


@pytest.fixture
def activations_all(in_this_process: None, tmp_path: Path) -> Callable[..., Path]:
    """Runs the sweep with changed options, in a new run directory if none is given."""

    def run(changed: dict[str, str] | None = None, folder: str = "run") -> Path:
        options = {
            "--units": UNITS,
            "--images": f"0-{NUM_IMAGES - 1}",
            "--top": str(TOP),
            "--shard-size": "16",
            "--num-workers": "1",
            "--output": str(tmp_path / folder),
        } | (changed or {})
        assert main([word for option in options.items() if option[1] for word in option]) == 0
        return tmp_path / folder

    return run


def top_rows(run: Path, top: int = TOP) -> pd.DataFrame:
    """The strongest images of the whole run, by unit."""
    frame = pd.read_parquet(run / "results")
    frame = frame.sort_values(["activation", "image_index"], ascending=[False, True], kind="stable")
    units = ["layer", "unit", "class_index"]
    best = frame.groupby(units, dropna=False, sort=False).head(top)
    return best.sort_values(units, kind="stable").reset_index(drop=True)


def from_the_library(units: str, num_images: int = NUM_IMAGES) -> StrongestImages:
    pixels = load_dataset("fashion_mnist").images(range(num_images), VIEW)
    return strongest_images(
        load_classifier("fashion_deep"), torch.from_numpy(pixels).float() / 255, units, top=TOP
    )


def test_the_strongest_images_of_all_shards_are_those_of_the_library(activations_all) -> None:
    run = activations_all()
    table = pq.read_table(run / "results")
    assert table.schema.remove_metadata().equals(activations_results().remove_metadata())
    frame, found = top_rows(run), from_the_library(UNITS)
    assert len(table) == 5 * 3 * TOP
    for place, unit in enumerate(found.units):
        layer, _, name = unit.partition(":")
        rows = frame[(frame["layer"] == layer) & (frame["unit"] == name)]
        assert rows["image_index"].tolist() == found.images[place].tolist()
        np.testing.assert_allclose(rows["activation"], found.values[place], rtol=1e-5, atol=1e-6)
        for column, expected in (("row", found.rows[place]), ("column", found.columns[place])):
            assert rows[column].fillna(NO_PLACE).tolist() == expected.tolist()
    assert set(frame[frame["layer"] == "hidden1"]["row"].isna()) == {True}
    assert frame["class_index"].isna().all()
    labels = load_dataset("fashion_mnist").labels
    assert frame["label"].tolist() == labels[frame["image_index"]].tolist()
    assert verify(RunDirectory(run)).problems == []


def test_stored_images_are_what_the_network_saw_each_once_a_shard(activations_all) -> None:
    run = activations_all()
    schema = pq.read_schema(next((run / "images").iterdir()))
    assert schema.remove_metadata().equals(activations_images().remove_metadata())
    frame = top_rows(run)
    stored = np.stack(images(run, frame["image_key"]))
    seen = load_dataset("fashion_mnist").images(frame["image_index"].tolist(), VIEW)
    assert np.array_equal(stored, seen.transpose(0, 2, 3, 1))
    keys = pq.read_table(run / "images")["key"].to_pylist()
    assert len(keys) == len(set(keys))


def test_of_classes_it_is_the_logits(activations_all) -> None:
    frame = top_rows(activations_all({"--units": "", "--classes": "1,9"}))
    pixels = torch.from_numpy(load_dataset("fashion_mnist").images(range(NUM_IMAGES), VIEW)).float() / 255
    with torch.inference_mode():
        logits = load_classifier("fashion_deep")(pixels)
    for index in (1, 9):
        rows = frame[frame["class_index"] == index]
        best = logits[:, index].topk(TOP)
        assert rows["image_index"].tolist() == best.indices.tolist()
        np.testing.assert_allclose(rows["activation"], best.values, rtol=1e-5)
    assert frame["class_name"].unique().tolist() == ["Trouser", "Ankle boot"]
    assert frame[["layer", "unit", "row", "column"]].isna().all(axis=None)


def test_growth_of_images_and_units_computes_what_is_new_alone(activations_all) -> None:
    run = activations_all({"--units": "conv3:0-1", "--images": "0-31"})
    before = {path: path.read_bytes() for path in (run / "results").iterdir()}
    activations_all()
    assert {path: path.read_bytes() for path in before} == before
    assert verify(RunDirectory(run)).problems == []
    fresh = activations_all(folder="fresh")
    pd.testing.assert_frame_equal(
        top_rows(run).drop(columns=OF_THE_RUN), top_rows(fresh).drop(columns=OF_THE_RUN)
    )


def test_what_is_missing_is_made_again_and_fewer_units_of_a_layer_are_enough(activations_all) -> None:
    run = activations_all()
    before = top_rows(run)
    sorted((run / "results").iterdir())[1].unlink()
    (run / "_SUCCESS").unlink()
    activations_all({"--units": "conv3:0,hidden1:7"})
    pd.testing.assert_frame_equal(top_rows(run).drop(columns="image_file"), before.drop(columns="image_file"))
    assert (run / "_SUCCESS").exists()


def test_shards_change_no_bit(activations_all) -> None:
    first, second = (
        top_rows(activations_all({"--batch-size": "16", "--shard-size": size}, folder=f"shards-of-{size}"))
        for size in ("5", "16")
    )
    pd.testing.assert_frame_equal(first.drop(columns=OF_THE_RUN), second.drop(columns=OF_THE_RUN))


def test_directions_are_units_and_a_changed_file_is_refused(activations_all, tmp_path, capsys) -> None:
    file = tmp_path / "concepts.safetensors"
    directions = np.eye(16, dtype=np.float32)[[2, 0]]
    safetensors.numpy.save_file({"stripes": directions}, file)
    run = activations_all({"--units": f"conv3:{file},conv3:0,2"})
    frame = top_rows(run).set_index(["layer", "unit"])
    for direction, channel in (
        ("concepts.safetensors#stripes:0", "2"),
        ("concepts.safetensors#stripes:1", "0"),
    ):
        ours, theirs = frame.loc[("conv3", direction)], frame.loc[("conv3", channel)]
        assert ours["image_index"].tolist() == theirs["image_index"].tolist()
        assert ours["activation"].tolist() == theirs["activation"].tolist()
    safetensors.numpy.save_file({"stripes": 2 * directions}, file)
    capsys.readouterr()
    assert main(["--units", f"conv3:{file}", "--images", "0-39", "--top", "4", "--output", str(run)]) == 2
    assert "directions concepts.safetensors#stripes: its definition has changed" in capsys.readouterr().err


def test_a_plan_prints_shards_cells_bytes_and_time_and_makes_nothing(tmp_path, capsys) -> None:
    given = ["--images", "0-39", "--shard-size", "16", "--batch-size", "4", "--output", str(tmp_path / "run")]
    assert main([*given, "--plan"]) == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["shards"] == "3, of which 3 remain"
    assert lines["cells"] == "40, of which 40 remain"
    assert {"bytes", "time"} <= lines.keys()
    assert list(tmp_path.iterdir()) == []


def test_an_image_whose_activation_is_no_number_is_a_failure_of_its_own() -> None:
    values = torch.tensor([[1.0, 2.0], [torch.nan, 3.0], [4.0, -torch.inf]])
    places = torch.zeros(3, 2, dtype=torch.int32)
    shown = Shown(
        indices=(3, 5, 7),
        found=Activations(values=values, rows=places, columns=places),
        images_u8=torch.zeros(3, 1, 4, 4, dtype=torch.uint8),
    )
    failed = shown.not_finite(Measured(classes=(0, 9)))
    assert failed == {5: "its activation of class 0 is nan", 7: "its activation of class 9 is -inf"}
    left = shown.without(failed)
    assert (left.indices, left.found.values.tolist(), len(left.images_u8)) == ((3,), [[1, 2]], 1)
