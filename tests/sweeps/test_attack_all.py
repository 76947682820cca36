"""The adversarial sweep on the real model and data: what it writes, how it grows, what its results depend on."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image

from analysis.attacks.success_rates import success_rate
from analysis.load import images, results
from attrib_core.classifiers import load_classifier
from attrib_core.datasets import View, load_dataset
from sweeps.attack_all import main
from sweeps.schemas import IDENTITY, attack_images, attack_results
from sweeps.store import RunDirectory
from sweeps.store.verification import verify

REPOSITORY = Path(__file__).parents[2]
NUM_IMAGES = 48
EPSILONS = (0.0, 0.25 / 255, 4 / 255, 0.1)
OPTIONS = {
    "--images": f"0-{NUM_IMAGES - 1}",
    "--methods": "fgsm,minimum_fgsm",
    "--epsilons": "0,0.25/255,4/255,0.1",
    "--save-images": "0-3",
    "--save-perturbations": "0-31",
    "--shard-size": "24",
    "--num-workers": "2",
    "--threads-per-worker": "1",
}
# What may differ between two runs of the same cells; `shard_id` and the files only where shards are cut otherwise.
OF_THE_RUN = {"shard_id", "attempt", "image_file", "perturbation_file", "clean_file", "batch_size"}


def arguments(output: Path, changed: dict[str, str] | None = None) -> list[str]:
    options = OPTIONS | {"--output": str(output)} | (changed or {})
    return [word for option in options.items() for word in option if word]


@pytest.fixture(scope="module")
def finished_run(local_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory made by two actors."""
    output = tmp_path_factory.mktemp("runs") / "attack"
    assert main(arguments(output)) == 0
    return output


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


@pytest.fixture
def attack(in_this_process: None, tmp_path: Path) -> Callable[..., Path]:
    """Runs the sweep with changed options, in a new run directory if none is given."""

    def run(changed: dict[str, str], output: Path = tmp_path / "run") -> Path:
        assert main(arguments(output, {"--num-workers": "1"} | changed)) == 0
        return output

    return run


@pytest.fixture
def small_fashion_mnist(tmp_path: Path, write_fashion_mnist: Callable[..., Path]) -> Path:
    """The first 40 training and 10 test images."""
    folder = tmp_path / "data"
    folder.mkdir()
    return write_fashion_mnist(folder, num_train=40, num_test=10)


def rows(run: Path) -> pd.DataFrame:
    frame = pd.read_parquet(run / "results")
    return frame.sort_values(["method", "checkpoint", "image_index", "epsilon"]).reset_index(drop=True)


def files_of(run: Path) -> dict[str, bytes]:
    files = [*(run / "results").iterdir(), *(run / "images").iterdir()]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def same_facts(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    names = [name for name in expected.columns if name not in OF_THE_RUN]
    pd.testing.assert_frame_equal(found[names], expected[names], check_exact=True)


def close_facts(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Another shape of batches may change the last bits of numbers, and nothing else."""
    names = [name for name in expected.columns if name not in OF_THE_RUN]
    pd.testing.assert_frame_equal(found[names], expected[names], rtol=1e-4, atol=1e-5)


def test_results_have_a_row_for_each_image_and_epsilon_and_one_for_each_minimum(finished_run) -> None:
    table = pq.read_table(finished_run / "results")
    assert table.schema.remove_metadata().equals(attack_results().remove_metadata())
    frame = rows(finished_run)
    fgsm = frame[frame["method"] == "fgsm"]
    assert fgsm.groupby("image_index")["epsilon"].apply(tuple).tolist() == [EPSILONS] * NUM_IMAGES
    assert (frame["method"] == "minimum_fgsm").sum() == NUM_IMAGES
    assert frame["target"].isna().all()
    assert set(frame["checkpoint"]) == {"trained"}
    dataset = load_dataset("fashion_mnist")
    assert fgsm.groupby("image_index")["label"].first().tolist() == dataset.labels[:NUM_IMAGES].tolist()


def test_rows_agree_with_the_library_and_among_themselves(finished_run) -> None:
    frame = rows(finished_run)
    clean = frame[(frame["method"] == "fgsm") & (frame["epsilon"] == 0)]
    assert (clean["adversarial_prediction"] == clean["clean_prediction"]).all()
    assert (clean["adversarial_confidence"] == clean["clean_confidence"]).all()
    assert (clean["linf"] == 0).all()
    gone = frame[(frame["method"] == "fgsm") & (frame["epsilon"] == EPSILONS[1])]
    assert (gone["prediction_u8"] == gone["clean_prediction"]).all(), "a quarter of a level rounds away"
    assert ((frame["clean_margin"] > 0) == (frame["clean_prediction"] == frame["label"])).all()
    found = frame[(frame["method"] == "minimum_fgsm") & frame["epsilon"].notna()]
    assert (found["adversarial_prediction"] != found["label"]).all()
    wrong = frame["clean_prediction"] != frame["label"]
    assert (frame[wrong & (frame["method"] == "minimum_fgsm")]["epsilon"] == 0).all()


def test_stored_images_are_the_clean_one_the_sign_map_and_their_sum(finished_run) -> None:
    schema = pq.read_schema(next((finished_run / "images").iterdir()))
    assert schema.remove_metadata().equals(attack_images().remove_metadata())
    frame = rows(finished_run)
    chosen = frame[(frame["method"] == "fgsm") & (frame["epsilon"] == 4 / 255) & frame["image_key"].notna()]
    assert chosen["image_index"].tolist() == [0, 1, 2, 3]
    stored = {
        name: np.stack(images(finished_run, chosen[f"{name}_key"])).astype(int)
        for name in ("clean", "perturbation", "image")
    }
    test_set = load_dataset("fashion_mnist").images(range(4), View(image_size=28, channels=1))
    assert np.array_equal(stored["clean"], test_set.transpose(0, 2, 3, 1))
    assert set(np.unique(stored["perturbation"])) <= {0, 128, 255}
    signs = np.sign(stored["perturbation"] - 128)
    assert np.array_equal(stored["image"], np.clip(stored["clean"] + 4 * signs, 0, 255))


def test_keys_and_files_are_null_where_no_image_is_stored(finished_run) -> None:
    frame = rows(finished_run)
    for kind, last in (("image", 3), ("clean", 3), ("perturbation", 31)):
        assert (frame[f"{kind}_key"].notna() == (frame["image_index"] <= last)).all()
        assert (frame[f"{kind}_file"].isna() == frame[f"{kind}_key"].isna()).all()
    found = verify(RunDirectory(finished_run))
    assert (found.problems, found.num_orphan_images) == ([], 0)
    assert (finished_run / "_SUCCESS").exists()


def test_the_record_says_which_data_classes_and_weights(finished_run) -> None:
    sweep = json.loads((finished_run / "sweep.json").read_text())
    dataset = load_dataset("fashion_mnist")
    assert sweep["settings"]["data_digest"] == dataset.digest
    assert sweep["invocations"][0]["class_names"] == list(dataset.class_names)
    assert sweep["definitions"]["checkpoint trained"] == load_classifier("fashion_deep").digest


def test_the_analysis_reads_it(finished_run) -> None:
    table = success_rate(results(finished_run), by=["method", "epsilon"], denominator="initially_correct")
    table = table.set_index("epsilon")
    assert table.loc[0.0, "rate"] == 0
    assert table.loc[0.1, "rate"] > 0.5
    assert (table["low"] <= table["rate"]).all()


def test_the_same_command_again_changes_no_file(copied_run, capsys) -> None:
    before = files_of(copied_run)
    assert main(arguments(copied_run)) == 0  # without any Ray: there is nothing to compute
    assert files_of(copied_run) == before
    assert capsys.readouterr().err == f"All 4 shards are committed in {copied_run}\n"


@pytest.mark.long
def test_growth_of_every_axis_computes_the_new_cells_alone(copied_run, attack, tmp_path) -> None:
    before = files_of(copied_run)
    attack({"--epsilons": "0,0.25/255,4/255,0.1,8/255", "--images": f"0-{NUM_IMAGES + 11}"}, copied_run)
    attack({"--methods": "fgsm,random_sign", "--checkpoints": "untrained,trained"}, copied_run)
    attack({"--methods": "fgsm", "--targets": "3,5", "--images": "0-7"}, copied_run)
    after = files_of(copied_run)
    assert {name: after[name] for name in before} == before
    frame = pd.read_parquet(copied_run / "results")
    assert not frame.duplicated([*IDENTITY["attack"]]).any()
    counts = frame.groupby(["method", "checkpoint", frame["target"].fillna(-1)]).size()
    assert counts.to_dict() == {
        ("fgsm", "trained", -1): (NUM_IMAGES + 12) * 5,
        ("fgsm", "trained", 3): 8 * 4,
        ("fgsm", "trained", 5): 8 * 4,
        ("fgsm", "untrained", -1): NUM_IMAGES * 4,
        ("minimum_fgsm", "trained", -1): NUM_IMAGES + 12,
        ("random_sign", "trained", -1): NUM_IMAGES * 4,
        ("random_sign", "untrained", -1): NUM_IMAGES * 4,
    }
    assert verify(RunDirectory(copied_run)).problems == []
    assert (copied_run / "_SUCCESS").exists()
    keys = [key for kind in ("image", "clean", "perturbation") for key in frame[f"{kind}_key"].dropna()]
    assert {image.shape for image in images(copied_run, sorted(set(keys)))} == {(28, 28, 1)}

    fresh = attack({"--epsilons": "8/255", "--methods": "fgsm"}, tmp_path / "fresh")
    grown = rows(copied_run).query("epsilon == 8 / 255 and image_index < @NUM_IMAGES and method == 'fgsm'")
    same_facts(grown.reset_index(drop=True).drop(columns="perturbation_key"),
               rows(fresh).drop(columns="perturbation_key"))  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [{"--shard-size": "10"}, pytest.param({"--shard-size": "16"}, marks=pytest.mark.long)],
    ids=["small shards", "shards"],
)
def test_results_do_not_depend_on_workers_or_shards(changed, finished_run, attack) -> None:
    """The finished run has two actors, these have one worker in this process."""
    same_facts(rows(attack(changed)), rows(finished_run))


@pytest.mark.long
def test_random_methods_do_not_depend_on_them_either(attack, tmp_path) -> None:
    asked = {"--methods": "random_sign,pgd", "--num-steps": "2", "--images": "0-11"}
    together = {"--shard-size": "12", "--batch-size": "4", "--num-workers": "1"}
    apart = {"--shard-size": "7", "--batch-size": "4", "--num-workers": "2"}
    same_facts(rows(attack(asked | together, tmp_path / "a")), rows(attack(asked | apart, tmp_path / "b")))


@pytest.mark.long
def test_another_batch_size_changes_last_bits_alone(finished_run, attack) -> None:
    close_facts(rows(attack({"--batch-size": "4"})), rows(finished_run))


def test_mixed_precision_gives_the_predictions_of_float32(finished_run, attack) -> None:
    mixed, exact = rows(attack({"--precision": "mixed"})), rows(finished_run)
    for name in ("clean_prediction", "adversarial_prediction", "prediction_u8", "epsilon", "linf"):
        pd.testing.assert_series_equal(mixed[name], exact[name])
    assert 0 < mixed["rechecked"].mean() < 0.5
    assert not exact["rechecked"].any()


def test_without_clipping_no_pixel_is_held_back(attack) -> None:
    run = attack(
        {"--no-clip": "", "--methods": "fgsm,gradient_alone", "--epsilons": "0.1", "--images": "0-3"}
    )
    frame = rows(run)
    np.testing.assert_allclose(frame[frame["method"] == "fgsm"]["linf"], 0.1, rtol=1e-6)


@pytest.mark.long
def test_checkpoints_along_a_training_are_an_axis(small_fashion_mnist, attack, tmp_path) -> None:
    steps, weights = tmp_path / "steps", tmp_path / "trained.safetensors"
    options = f"--data-root {small_fashion_mnist} --output {weights} --epochs 1 --batch-size 8 --threads 1"
    command = [sys.executable, "sweeps/train_classifier.py", *options.split(), "--checkpoints", str(steps)]
    subprocess.run([*command, "--checkpoint-every", "4"], cwd=REPOSITORY, check=True, capture_output=True)
    asked = {"--weights": str(weights), "--checkpoints": f"untrained,{steps},trained", "--methods": "fgsm"}
    frame = rows(attack(asked | {"--data-root": str(small_fashion_mnist), "--images": "all"}))
    assert frame.groupby("checkpoint").size().to_dict() == {
        name: 10 * len(EPSILONS)
        for name in ("step-00000000", "step-00000004", "step-00000005", "trained", "untrained")
    }
    facts = {name: group["adversarial_margin"].tolist() for name, group in frame.groupby("checkpoint")}
    assert facts["step-00000005"] == facts["trained"], "the last update makes the weights that are written"
    digests = frame.groupby("checkpoint")["model_digest"].unique()
    assert digests["step-00000005"] == digests["trained"]
    assert frame["model_digest"].nunique() == 4


@pytest.mark.long
def test_checkpoints_of_tapes_are_an_axis_too(attack, tmp_path) -> None:
    """As a run directory of sweeps/attribute_training.py holds them: tapes/<trial>/checkpoints/."""
    for trial, step in (("a-lr0.1", 0), ("a-lr0.1", 4), ("b-lr0.1", 0)):
        folder = tmp_path / "training" / "tapes" / trial / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        classifier = load_classifier("fashion_deep", weights="untrained")
        state = classifier.network.state_dict() | {"head.bias": torch.full((10,), float(step))}
        safetensors.torch.save_file(state, folder / f"step-{step:08d}.safetensors")
    asked = {"--methods": "fgsm", "--epsilons": "0.1", "--images": "0-3", "--save-images": "none"}
    of_two = attack(asked | {"--checkpoints": str(tmp_path / "training")}, tmp_path / "two")
    names = {"a-lr0.1.step-00000000", "a-lr0.1.step-00000004", "b-lr0.1.step-00000000"}
    assert set(rows(of_two)["checkpoint"]) == names
    shutil.rmtree(tmp_path / "training" / "tapes" / "b-lr0.1")
    of_one = attack(asked | {"--checkpoints": f"{tmp_path / 'training'},trained"}, tmp_path / "one")
    assert set(rows(of_one)["checkpoint"]) == {"step-00000000", "step-00000004", "trained"}
    assert rows(of_one)["model_digest"].nunique() == 3


@pytest.mark.long
def test_photographs_are_resized_and_keep_their_colours(attack, tmp_path) -> None:
    generator = np.random.default_rng(0)
    for name in ("n01440764", "n01443537"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        pixels = generator.integers(0, 255, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name / "0.png")
    options = {"--model": "efficientnet_lite0", "--dataset": f"imagefolder:{tmp_path / 'photos'}",
               "--images": "all", "--methods": "fgsm", "--epsilons": "1/255", "--save-images": "0"}  # fmt: skip
    run = attack(options | {"--batch-size": "4"})
    frame = rows(run)
    assert frame["label"].tolist() == [0, 1], "WordNet ids are looked up among the model's"
    assert frame["label_name"].tolist() == ["tench", "goldfish"]
    assert frame["key"].tolist() == ["n01440764/0.png", "n01443537/0.png"]
    [stored] = images(run, frame["image_key"].dropna())
    assert stored.shape == (224, 224, 3)
    table = pq.read_table(run / "images").to_pylist()
    assert {np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).shape for row in table} == {
        (224, 224, 3)
    }


def test_a_plan_prints_shards_cells_bytes_and_time_and_makes_nothing(tmp_path, capsys) -> None:
    assert main([*arguments(tmp_path / "run"), "--batch-size", "4", "--plan"]) == 0
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["shards"] == "4, of which 4 remain"
    assert lines["cells"] == f"{2 * NUM_IMAGES}, of which {2 * NUM_IMAGES} remain"
    assert {"bytes", "time"} <= lines.keys()
    assert list(tmp_path.iterdir()) == []


def test_a_plan_counts_what_this_command_asks_for_and_lacks(copied_run, capsys) -> None:
    before = files_of(copied_run), (copied_run / "sweep.json").read_bytes()
    more = {"--epsilons": "0.1,0.2", "--images": f"0-{NUM_IMAGES + 1}", "--batch-size": "4"}
    assert main([*arguments(copied_run, more), "--plan"]) == 0
    printed = capsys.readouterr().out
    # In two images all ε and the minimum are missing, in the others one ε.
    assert f"of which {NUM_IMAGES + 2 + 2} remain" in printed, printed
    assert (files_of(copied_run), (copied_run / "sweep.json").read_bytes()) == before
