"""The sweep that modifies real images, on the real model and data: what it writes, what its results depend on."""

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
from attrib_core.classifiers import load_classifier
from attrib_core.datasets import View, load_dataset
from attrib_core.generation.modification import NEVER, ModificationSettings, modify
from attrib_core.prepared import prepare
from sweeps.modify_all import main
from sweeps.schemas import IDENTITY, modify_images, modify_results
from sweeps.store import RunDirectory
from sweeps.store.verification import verify
from sweeps.store.webdataset import export_webdataset

NUM_IMAGES, TARGETS, NUM_STEPS = 12, (0, 3, 9), 12
OPTIONS = {
    "--images": f"0-{NUM_IMAGES - 1}",
    "--targets": "0,3,9",
    "--num-steps": str(NUM_STEPS),
    "--shard-size": "8",
    "--num-workers": "2",
    "--threads-per-worker": "1",
}
# What may differ between two runs of the same cells; `shard_id` only where shards are cut otherwise.
OF_THE_RUN = {"shard_id", "attempt", "image_file", "clean_file", "batch_size"}
VIEW = View(image_size=28, channels=1)


def arguments(output: Path, changed: dict[str, str] | None = None) -> list[str]:
    options = OPTIONS | {"--output": str(output)} | (changed or {})
    return [word for option in options.items() for word in option if word]


@pytest.fixture(scope="module")
def finished_run(local_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "modify"
    assert main(arguments(output)) == 0
    return output


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


@pytest.fixture
def modify_all(in_this_process: None, tmp_path: Path) -> Callable[..., Path]:
    """Runs the sweep with changed options, in a new run directory if none is given."""

    def run(changed: dict[str, str], output: Path = tmp_path / "run") -> Path:
        assert main(arguments(output, {"--num-workers": "1"} | changed)) == 0
        return output

    return run


def rows(run: Path) -> pd.DataFrame:
    frame = pd.read_parquet(run / "results")
    return frame.sort_values(["target", "image_index"]).reset_index(drop=True)


def files_of(run: Path) -> dict[str, bytes]:
    files = [*(run / "results").iterdir(), *(run / "images").iterdir()]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def same_facts(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert len(found) == len(expected)
    for name in set(expected.columns) - OF_THE_RUN:
        assert found[name].isna().equals(expected[name].isna()), name
        pairs = zip(found[name].dropna(), expected[name].dropna(), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs), name


def test_results_have_a_row_for_each_image_and_target(finished_run) -> None:
    table = pq.read_table(finished_run / "results")
    assert table.schema.remove_metadata().equals(modify_results().remove_metadata())
    frame = rows(finished_run)
    assert list(zip(frame["target"], frame["image_index"], strict=True)) == [
        (target, index) for target in TARGETS for index in range(NUM_IMAGES)
    ]
    dataset = load_dataset("fashion_mnist")
    assert frame["label"].tolist() == dataset.labels[:NUM_IMAGES].tolist() * len(TARGETS)
    assert frame["target_name"].unique().tolist() == [dataset.class_names[target] for target in TARGETS]
    assert set(frame["num_steps"]) == {NUM_STEPS}


def test_rows_say_what_the_library_finds(finished_run) -> None:
    model = prepare(load_classifier("fashion_deep"), device="cpu")
    images_in = torch.from_numpy(load_dataset("fashion_mnist").images(range(NUM_IMAGES), VIEW)).float() / 255
    for target in TARGETS:
        found = modify(
            model,
            images_in,
            torch.full((NUM_IMAGES,), target),
            settings=ModificationSettings(num_steps=NUM_STEPS),
        )
        frame = rows(finished_run).query("target == @target")
        assert frame["first_hit_step"].fillna(NEVER).tolist() == found.first_hit_step.tolist()
        assert frame["prediction"].tolist() == found.final.model.top1.tolist()
        assert frame["initial_prediction"].tolist() == found.initial.model.top1.tolist()
        for name, expected in (
            ("target_logit", found.final.logit),
            ("target_probability", found.final.probability),
            ("confidence", found.final.model.logits.softmax(1).amax(1)),
            ("linf", found.change.linf),
            ("l2", found.change.l2),
            ("l1", found.change.l1),
        ):
            np.testing.assert_allclose(frame[name], expected.numpy(), rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(
            np.stack(frame["logit_by_step"]), found.logit_by_step.numpy(), rtol=1e-3, atol=1e-3
        )
        assert np.array_equal(np.stack(frame["argmax_by_step"]), found.argmax_by_step.numpy())


def test_stored_images_are_the_clean_one_and_the_one_that_was_judged(finished_run) -> None:
    schema = pq.read_schema(next((finished_run / "images").iterdir()))
    assert schema.remove_metadata().equals(modify_images().remove_metadata())
    frame = rows(finished_run)
    clean = np.stack(images(finished_run, frame["clean_key"]))
    test_set = load_dataset("fashion_mnist").images(frame["image_index"].tolist(), VIEW)
    assert np.array_equal(clean, test_set.transpose(0, 2, 3, 1))
    stored = np.stack(images(finished_run, frame["image_key"]))
    with torch.inference_mode():
        logits = load_classifier("fashion_deep")(torch.from_numpy(stored.transpose(0, 3, 1, 2)).float() / 255)
    assert logits.argmax(1).tolist() == frame["prediction"].tolist()
    targets = torch.tensor(frame["target"].tolist())[:, None]
    np.testing.assert_allclose(frame["target_logit"], logits.gather(1, targets)[:, 0], rtol=1e-3, atol=1e-3)
    change = np.abs(stored.astype(float) - clean).max((1, 2, 3)) / 255
    np.testing.assert_allclose(change, frame["linf"], atol=0.5 / 255 + 1e-6)
    assert verify(RunDirectory(finished_run)).problems == []


def test_the_norms_at_the_hit_are_null_where_there_was_none_and_nothing_where_it_began(finished_run) -> None:
    frame = rows(finished_run)
    assert (frame["hit_l2"].isna() == frame["first_hit_step"].isna()).all()
    began = frame[frame["first_hit_step"] == 0]
    assert len(began) > 0
    assert (began["hit_l2"] == 0).all()
    assert (began["initial_prediction"] == began["target"]).all()
    later = frame[frame["first_hit_step"] > 0]
    assert (later["hit_linf"] <= 0.01 * later["first_hit_step"] + 1e-6).all()
    assert (later["hit_l2"] <= later["l2"] + 1e-6).mean() > 0.8


def test_the_record_says_which_data_and_weights(finished_run) -> None:
    sweep = json.loads((finished_run / "sweep.json").read_text())
    assert sweep["settings"]["data_digest"] == load_dataset("fashion_mnist").digest
    assert sweep["definitions"] == {"weights": load_classifier("fashion_deep").digest}
    assert {"num_steps": NUM_STEPS, "step_size": 0.01, "clip": True}.items() <= sweep["settings"].items()
    assert (finished_run / "_SUCCESS").exists()


def test_the_same_command_again_changes_no_file(copied_run, capsys) -> None:
    before = files_of(copied_run)
    assert main(arguments(copied_run)) == 0
    assert files_of(copied_run) == before
    assert capsys.readouterr().err == f"All 6 shards are committed in {copied_run}\n"


@pytest.mark.long
def test_what_is_missing_is_made_again_as_it_was(copied_run, finished_run, modify_all) -> None:
    for file in sorted((copied_run / "results").iterdir())[1::2]:
        file.unlink()
    (copied_run / "_SUCCESS").unlink()
    modify_all({}, copied_run)
    same_facts(rows(copied_run), rows(finished_run))
    assert (copied_run / "_SUCCESS").exists()


@pytest.mark.long
def test_growth_of_images_and_targets_computes_the_new_cells_alone(copied_run, modify_all, tmp_path) -> None:
    before = files_of(copied_run)
    more = {"--images": f"0-{NUM_IMAGES + 3}", "--targets": "0,3,5,9"}
    modify_all(more, copied_run)
    after = files_of(copied_run)
    assert {name: after[name] for name in before} == before
    frame = rows(copied_run)
    assert not frame.duplicated([*IDENTITY["modify"]]).any()
    assert len(frame) == 4 * (NUM_IMAGES + 4)
    assert verify(RunDirectory(copied_run)).problems == []
    assert export_webdataset(RunDirectory(copied_run), str(tmp_path / "tar")) == len(frame)
    same_facts(frame, rows(modify_all(more, tmp_path / "fresh")))


@pytest.mark.long
def test_results_do_not_depend_on_workers_or_shards(finished_run, modify_all) -> None:
    same_facts(rows(modify_all({"--shard-size": "5"})), rows(finished_run))


@pytest.mark.long
def test_without_clipping_and_without_images(modify_all) -> None:
    run = modify_all({"--no-clip": "", "--save-images": "none", "--step-size": "0.1", "--targets": "3"})
    frame = rows(run)
    assert frame["image_key"].isna().all()
    assert frame["clean_file"].isna().all()
    assert not (run / "images").exists() or not list((run / "images").iterdir())
    assert frame["linf"].max() > 1, "no pixel is held back"


def test_a_plan_prints_shards_cells_bytes_and_time_and_makes_nothing(tmp_path, capsys) -> None:
    assert main([*arguments(tmp_path / "run"), "--batch-size", "4", "--plan"]) == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["shards"] == "6, of which 6 remain"
    assert lines["cells"] == f"{3 * NUM_IMAGES}, of which {3 * NUM_IMAGES} remain"
    assert {"bytes", "time"} <= lines.keys()
    assert list(tmp_path.iterdir()) == []
