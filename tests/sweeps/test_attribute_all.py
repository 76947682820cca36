"""Static attribution on the real model and data: what it writes, how it grows, what its results depend on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from analysis.load import images
from attrib_core.attribution import METHODS, AttributionSettings, attribute, deletion_and_insertion
from attrib_core.classifiers import load_classifier
from attrib_core.datasets import View, load_dataset
from attrib_core.prepared import prepare
from sweeps.attribute_all import main
from sweeps.schemas import IDENTITY, attribute_images, attribute_results
from sweeps.store import RunDirectory
from sweeps.store.verification import verify
from sweeps.store.webdataset import export_webdataset

NUM_IMAGES = 12
OF_LOGITS = ("gradient_x_input", "integrated_gradients", "smooth_grad")
OPTIONS = {
    "--images": f"0-{NUM_IMAGES - 1}",
    "--methods": ",".join([*OF_LOGITS, "loss_gradient"]),
    "--target": "predicted,label",
    "--num-steps": "8",
    "--num-samples": "3",
    "--save-images": "0-3",
    "--shard-size": "8",
    "--num-workers": "2",
    "--threads-per-worker": "1",
}
SETTINGS = AttributionSettings(num_steps=8, num_samples=3)
SHAPE = (1, 28, 28)
# What may differ between two runs of the same cells: the shard is part of an image's key.
OF_THE_RUN = {"shard_id", "attempt", "image_file", "image_key", "batch_size"}


def arguments(output: Path, changed: dict[str, str] | None = None) -> list[str]:
    options = OPTIONS | {"--output": str(output)} | (changed or {})
    return [word for option in options.items() for word in option if word]


@pytest.fixture(scope="module")
def finished_run(local_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "attribute"
    assert main(arguments(output)) == 0
    return output


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


@pytest.fixture
def attribute_all(in_this_process: None, tmp_path: Path) -> Callable[..., Path]:
    """Runs the sweep with changed options, in a new run directory if none is given."""

    def run(changed: dict[str, str], output: Path = tmp_path / "run") -> Path:
        assert main(arguments(output, {"--num-workers": "1"} | changed)) == 0
        return output

    return run


def rows(run: Path) -> pd.DataFrame:
    frame = pd.read_parquet(run / "results")
    return frame.sort_values(["target", "method", "image_index"]).reset_index(drop=True)


def files_of(run: Path) -> dict[str, bytes]:
    files = [*(run / "results").iterdir(), *(run / "images").iterdir()]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def same_facts(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert np.array_equal(np.stack(found["attribution"]), np.stack(expected["attribution"]))
    names = [name for name in expected.columns if name not in OF_THE_RUN | {"attribution"}]
    pd.testing.assert_frame_equal(found[names], expected[names], check_exact=True)


def close_facts(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Another shape of batches may change the last bits of numbers, and nothing else."""
    names = [name for name in expected.columns if name not in OF_THE_RUN | {"attribution"}]
    pd.testing.assert_frame_equal(found[names], expected[names], rtol=1e-4, atol=1e-5)


def values_of(frame: pd.DataFrame) -> np.ndarray:
    """Attributions `[N, C, H, W]` in float32."""
    scale = frame["attribution_scale"].to_numpy(np.float32)[:, None]
    return (np.stack(frame["attribution"]).astype(np.float32) * scale).reshape(-1, *SHAPE)


def clean_images(count: int) -> torch.Tensor:
    view = View(image_size=28, channels=1)
    return torch.from_numpy(load_dataset("fashion_mnist").images(range(count), view)).float() / 255


def test_results_have_a_row_for_each_image_method_and_target(finished_run) -> None:
    table = pq.read_table(finished_run / "results")
    assert table.schema.remove_metadata().equals(attribute_results(SHAPE).remove_metadata())
    assert table.schema.field("attribution").metadata[b"shape"] == b"1,28,28"
    frame = rows(finished_run)
    expected = [(target, method) for target in ("label", "predicted") for method in OF_LOGITS]
    counts = frame.groupby(["target", "method"]).size().to_dict()
    assert counts == dict.fromkeys([*expected, ("loss", "loss_gradient")], NUM_IMAGES)
    assert frame.groupby("image_index")["label"].first().tolist() == (
        load_dataset("fashion_mnist").labels[:NUM_IMAGES].tolist()
    )
    assert verify(RunDirectory(finished_run)).problems == []
    assert (finished_run / "_SUCCESS").exists()


@pytest.mark.parametrize("target", ["label", "predicted", "loss"])
def test_rows_say_what_the_library_finds(target, finished_run) -> None:
    model = prepare(load_classifier("fashion_deep"), device="cpu")
    images_in = clean_images(NUM_IMAGES)
    labels = torch.from_numpy(load_dataset("fashion_mnist").labels[:NUM_IMAGES])
    frame = rows(finished_run).query("target == @target")
    methods = sorted(frame["method"].unique())
    found = attribute(model, images_in, labels, methods, target=target, settings=SETTINGS)
    for method in methods:
        stored = frame[frame["method"] == method]
        assert stored["prediction"].tolist() == found.prediction.tolist()
        np.testing.assert_allclose(stored["confidence"], found.confidence, rtol=1e-4)
        values = found.values[method]
        error = np.abs(values_of(stored) - values.numpy()).max((1, 2, 3))
        # float16 keeps eleven bits.
        assert (error <= 1e-3 * stored["attribution_scale"]).all(), method
        # What lowers the loss speaks for the class; an absolute value says nothing of the direction.
        support = -values if target == "loss" and method != "abs_gradient_x_input" else values
        deletion, insertion = deletion_and_insertion(model, images_in, support, found.prediction)
        np.testing.assert_allclose(stored["deletion_score"], deletion, atol=1e-4)
        np.testing.assert_allclose(stored["insertion_score"], insertion, atol=1e-4)


def test_the_completeness_gap_is_that_of_integrated_gradients_alone(finished_run) -> None:
    frame = rows(finished_run)
    assert (frame["completeness_gap"].notna() == (frame["method"] == "integrated_gradients")).all()
    stored = frame.query("method == 'integrated_gradients' and target == 'label'")
    labels = torch.tensor(stored["label"].tolist())[:, None]
    with torch.inference_mode():
        classifier = load_classifier("fashion_deep")
        risen = classifier(clean_images(NUM_IMAGES)) - classifier(torch.zeros(1, *SHAPE))
    change = values_of(stored).sum((1, 2, 3)) - risen.gather(1, labels)[:, 0].numpy()
    np.testing.assert_allclose(stored["completeness_gap"], change, atol=0.05)


def test_rows_of_all_methods_name_the_image_that_is_stored_once_a_shard(finished_run) -> None:
    schema = pq.read_schema(next((finished_run / "images").iterdir()))
    assert schema.remove_metadata().equals(attribute_images().remove_metadata())
    frame = rows(finished_run)
    assert (frame["image_key"].notna() == (frame["image_index"] <= 3)).all()
    assert (frame["image_file"].isna() == frame["image_key"].isna()).all()
    assert len(pq.read_table(finished_run / "images")) == 4 * 3, "once for each target"
    named = frame.dropna(subset="image_key")
    stored = images(finished_run, named["image_key"])
    expected = (clean_images(4) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for index, image in zip(named["image_index"], stored, strict=True):
        assert np.array_equal(image, expected[index])


def test_the_record_says_which_weights_and_which_settings_each_method_had(finished_run) -> None:
    definitions = json.loads((finished_run / "sweep.json").read_text())["definitions"]
    described = {f"method {name}": METHODS[name].describe(SETTINGS) for name in OF_LOGITS}
    expected = {name: text for name, text in described.items() if text}
    assert definitions == expected | {"weights": load_classifier("fashion_deep").digest}
    assert "method integrated_gradients" in definitions


@pytest.mark.long
def test_what_is_missing_is_made_again_as_it_was(copied_run, finished_run, attribute_all) -> None:
    for file in sorted((copied_run / "results").iterdir())[1::2]:
        file.unlink()
    (copied_run / "_SUCCESS").unlink()
    attribute_all({}, copied_run)
    same_facts(rows(copied_run), rows(finished_run))
    assert (copied_run / "_SUCCESS").exists()


def test_the_same_command_again_changes_no_file(copied_run, capsys) -> None:
    before = files_of(copied_run)
    assert main(arguments(copied_run)) == 0
    assert files_of(copied_run) == before
    assert capsys.readouterr().err == f"All 6 shards are committed in {copied_run}\n"


@pytest.mark.long
def test_growth_of_every_axis_computes_the_new_cells_alone(copied_run, attribute_all, tmp_path) -> None:
    before = files_of(copied_run)
    more = {
        "--images": f"0-{NUM_IMAGES + 3}",
        "--methods": f"{OPTIONS['--methods']},occlusion",
        "--target": "predicted,label,loss",
    }
    attribute_all(more, copied_run)
    after = files_of(copied_run)
    assert {name: after[name] for name in before} == before
    frame = rows(copied_run)
    assert not frame.duplicated([*IDENTITY["attribute"]]).any()
    assert len(frame) == (NUM_IMAGES + 4) * (3 * 4 + 1)
    assert verify(RunDirectory(copied_run)).problems == []
    num_stored = len(pq.read_table(copied_run / "images"))
    assert export_webdataset(RunDirectory(copied_run), str(tmp_path / "tar")) == num_stored
    same_facts(frame, rows(attribute_all(more, tmp_path / "fresh")))


def test_results_do_not_depend_on_workers_or_shards(finished_run, attribute_all) -> None:
    same_facts(rows(attribute_all({"--shard-size": "5"})), rows(finished_run))


@pytest.mark.long
def test_another_batch_size_changes_last_bits_alone(finished_run, attribute_all) -> None:
    found, expected = rows(attribute_all({"--batch-size": "4"})), rows(finished_run)
    assert set(found["batch_size"]) == {4}
    close_facts(found, expected)
    np.testing.assert_allclose(values_of(found), values_of(expected), rtol=2e-3, atol=1e-4)


def test_a_plan_prints_shards_cells_bytes_and_time_and_makes_nothing(tmp_path, capsys) -> None:
    assert main([*arguments(tmp_path / "run"), "--batch-size", "4", "--plan"]) == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["shards"] == "6, of which 6 remain"
    assert lines["cells"] == f"{3 * NUM_IMAGES}, of which {3 * NUM_IMAGES} remain"
    assert {"bytes", "time"} <= lines.keys()
    assert list(tmp_path.iterdir()) == []
