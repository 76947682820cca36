"""Attribution along training on the real command: what it writes, and what its results do not depend on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from analysis.load import images
from attrib_core.attribution import AttributionSettings, attribute, deletion_and_insertion
from attrib_core.classifiers import load_classifier
from attrib_core.datasets import View, load_dataset
from attrib_core.prepared import prepare
from attrib_core.training.state import digest
from sweeps import attribute_all
from sweeps.attribute_training import AttributeTrainingOptions, main, read_inputs
from sweeps.schemas import IDENTITY, training_results
from sweeps.store import RunDirectory
from sweeps.store.verification import verify

NUM_TRAINING_IMAGES, NUM_STEPS, SEGMENT, PANEL = 180, 12, 4, (0, 2, 3, 5)
TRIAL = "fashion_deep-fashion_mnist-lr0.001-s0"
OPTIONS = {
    "--methods": "gradient_x_input,loss_gradient,training_integrated_gradient,gradient_variance",
    "--panel": "0,2,3,5",
    "--segment": str(SEGMENT),
    "--num-workers": "2",
}
# What may differ between two runs of the same cells.
OF_THE_RUN = {"shard_id", "attempt", "image_file"}
KEYS = ["trial", "method", "step", "image_index"]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory, write_fashion_mnist) -> Path:
    return write_fashion_mnist(tmp_path_factory.mktemp("data"), num_train=NUM_TRAINING_IMAGES, num_test=10)


def arguments(output: Path, data_root: Path, changed: dict[str, str] | None = None) -> list[str]:
    options = {"--output": str(output), "--data-root": str(data_root)} | OPTIONS | (changed or {})
    return [word for option in options.items() for word in option if word]


@pytest.fixture(scope="module")
def finished_run(local_cluster: None, tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    """A run directory made by actors: of Ray Tune, which record the tape, and of the pool."""
    output = tmp_path_factory.mktemp("runs") / "training"
    assert main(arguments(output, data_root)) == 0
    return output


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


@pytest.fixture
def attribute_training(local_cluster: None, tmp_path: Path, data_root: Path) -> Callable[..., Path]:
    """Runs the sweep with changed options, in a new run directory if none is given."""

    def run(changed: dict[str, str] | None = None, output: Path = tmp_path / "run") -> Path:
        with_one = {"--num-workers": "1"} | (changed or {})  # quicker to start than two
        assert main(arguments(output, data_root, with_one)) == 0
        return output

    return run


@pytest.fixture
def play_tapes(in_this_process: None, tmp_path: Path, data_root: Path) -> Callable[..., int]:
    """Runs the sweep in a run directory whose tapes are complete: Ray Tune, which records them, is not there."""

    def run(output: Path, changed: dict[str, str] | None = None) -> int:
        return main(arguments(output, data_root, changed))

    return run


def rows(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "results").sort_values(KEYS).reset_index(drop=True)


def tape_files(run: Path) -> dict[str, bytes]:
    folder = run / "tapes"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


def values(frame: pd.DataFrame) -> np.ndarray:
    return np.stack(frame["attribution"]).astype(float) * frame["attribution_scale"].to_numpy()[:, None]


def assert_same(one: pd.DataFrame, other: pd.DataFrame, without=frozenset()) -> None:
    assert len(one) == len(other)
    for name in one.columns.difference(OF_THE_RUN | without):
        for first, second in zip(one[name], other[name], strict=True):
            if isinstance(first, np.ndarray):
                assert np.array_equal(first, second), name
            else:
                assert first == second or (pd.isna(first) and pd.isna(second)), name


def test_every_state_has_a_row_an_image_and_method(finished_run) -> None:
    frame = rows(finished_run)
    assert set(frame.columns) == set(training_results((1, 28, 28)).names)
    assert not frame.duplicated(list(IDENTITY["attribute_training"])).any()
    by_state = frame[frame["num_states"].eq(1) & ~frame["method"].str.contains("training|variance")]
    assert len(by_state) == 2 * (NUM_STEPS + 1) * len(PANEL)
    assert sorted(by_state["step"].unique()) == list(range(NUM_STEPS + 1))
    assert by_state["training_loss"].isna().eq(by_state["step"].eq(0)).all()
    assert set(frame["trial"]) == {TRIAL}
    assert (finished_run / "_SUCCESS").exists()
    assert verify(RunDirectory(finished_run)).problems == []


def test_the_first_and_last_states_are_those_of_the_tape(finished_run, data_root) -> None:
    """Attributions by the library of the weights that the tape recorded, loaded as anybody would."""
    dataset = load_dataset("fashion_mnist", root=data_root)
    for step in (0, NUM_STEPS):
        weights = finished_run / "tapes" / TRIAL / "checkpoints" / f"step-{step:08d}.safetensors"
        model = prepare(load_classifier("fashion_deep", weights=str(weights)), device="cpu")
        pixels = torch.from_numpy(dataset.images(PANEL, View.of(model.classifier)))
        found = attribute(
            model,
            pixels.float() / 255,
            torch.from_numpy(dataset.labels[list(PANEL)]),
            ["gradient_x_input", "loss_gradient"],
            settings=AttributionSettings(),
        )
        frame = rows(finished_run).query("step == @step")
        for method, expected in found.values.items():
            stored = frame[frame["method"] == method]
            scale = stored["attribution_scale"].to_numpy()[:, None]
            assert np.abs(values(stored) - expected.flatten(1).numpy()).max() <= 5e-4 * scale.max()
            assert np.allclose(scale[:, 0], expected.flatten(1).abs().amax(1), rtol=1e-6)
            assert stored["prediction"].tolist() == found.prediction.tolist()
            assert np.allclose(stored["confidence"], found.confidence, rtol=1e-6)


def test_sums_over_training_are_those_of_the_loss_gradients(finished_run) -> None:
    frame = rows(finished_run)
    gradients = frame[frame["method"] == "loss_gradient"]
    for method, power, column in (
        ("training_integrated_gradient", 1, "gradient_sum"),
        ("gradient_variance", 2, "gradient_sum_of_squares"),
    ):
        partial = frame[frame["method"] == method]
        assert partial.groupby("image_index")["num_states"].sum().eq(NUM_STEPS + 1).all()
        assert sorted(partial["step"].unique()) == [4, 8, 12]
        for index in PANEL:
            terms = values(gradients[gradients["image_index"] == index]) ** power
            mine = partial[partial["image_index"] == index]
            total = np.stack(mine[column]).sum(0)
            assert np.allclose(total, terms.sum(0), atol=2e-3 * np.abs(terms).sum(0).max())
            assert np.allclose(values(mine), np.stack(mine[column]), atol=1e-3 * np.abs(total).max())


def test_scores_of_a_state_are_those_of_its_network(play_tapes, copied_run, data_root) -> None:
    shutil.rmtree(copied_run / "results")
    changed = {"--scores": "deletion,insertion", "--every": "6", "--target": "label"}
    record = json.loads((copied_run / "sweep.json").read_text())
    record["blocks"] = []
    for field, value in (("every", 6), ("target", "label"), ("scores", ["deletion", "insertion"])):
        record["settings"][field] = value
    (copied_run / "sweep.json").write_text(json.dumps(record))
    assert play_tapes(copied_run, changed) == 0
    frame = rows(copied_run)
    by_state = frame[~frame["method"].str.contains("training|variance")]
    assert by_state[["deletion_score", "insertion_score"]].notna().all(axis=None)
    assert frame.drop(by_state.index)[["deletion_score", "insertion_score"]].isna().all(axis=None)
    dataset = load_dataset("fashion_mnist", root=data_root)
    weights = copied_run / "tapes" / TRIAL / "checkpoints" / f"step-{NUM_STEPS:08d}.safetensors"
    model = prepare(load_classifier("fashion_deep", weights=str(weights)), device="cpu")
    pixels = torch.from_numpy(dataset.images(PANEL, View.of(model.classifier))).float() / 255
    labels = torch.from_numpy(dataset.labels[list(PANEL)])
    methods, scores = ["gradient_x_input", "loss_gradient"], ["deletion", "insertion"]
    found = attribute(model, pixels, labels, methods, target="label", scores=scores)
    last = by_state.query("step == @NUM_STEPS")
    for place, method in enumerate(methods):
        stored = last[last["method"] == method]
        for column, numbers in found.scores.items():
            assert np.allclose(stored[column], numbers[:, place], atol=1e-6), column


def test_panel_images_are_stored_once_a_shard(finished_run, data_root) -> None:
    frame = rows(finished_run)
    dataset = load_dataset("fashion_mnist", root=data_root)
    keys = frame["image_key"].unique()
    stored = images(finished_run, keys)
    expected = dataset.images(PANEL, View(image_size=28, channels=1))
    for key, image in zip(keys, stored, strict=True):
        index = frame.loc[frame["image_key"] == key, "image_index"].iloc[0]
        assert np.array_equal(image[..., 0], expected[PANEL.index(index), 0])
    assert len(list((finished_run / "images").iterdir())) == len(list((finished_run / "results").iterdir()))


def test_what_is_computed_as_the_training_passes_and_what_a_tape_plays_are_the_same(
    copied_run, finished_run, play_tapes
) -> None:
    shutil.rmtree(copied_run / "results")
    shutil.rmtree(copied_run / "images")
    (copied_run / "_SUCCESS").unlink()
    before = tape_files(copied_run)
    assert play_tapes(copied_run) == 0
    assert_same(rows(copied_run), rows(finished_run))
    assert tape_files(copied_run) == before


@pytest.mark.long
def test_neither_following_nor_its_cost_changes_the_training(
    finished_run, attribute_training, tmp_path
) -> None:
    run = attribute_training({"--methods": "occlusion", "--every": "12"})
    assert tape_files(run) == tape_files(finished_run)
    assert sorted(rows(run)["step"].unique()) == [0, 12]
    assert verify(RunDirectory(run)).problems == []
    assert len(list((run / "images").iterdir())) == 2  # no state of the segment in between is recorded


@pytest.mark.long
def test_results_do_not_depend_on_the_length_of_a_segment(finished_run, attribute_training) -> None:
    run = attribute_training({"--segment": "5"})
    expected, found = rows(finished_run), rows(run)
    of_states = ["gradient_x_input", "loss_gradient"]
    assert_same(
        *(frame[frame["method"].isin(of_states)].reset_index(drop=True) for frame in (expected, found)),
        without={"model_digest", "image_key"},
    )
    for column in ("gradient_sum", "gradient_sum_of_squares"):
        one, other = (
            frame.dropna(subset=[column]).groupby(["method", "image_index"])[column].apply(np.sum)
            for frame in (expected, found)
        )
        for first, second in zip(one, other, strict=True):
            assert np.array_equal(first.astype(np.float32), second.astype(np.float32))


def test_a_new_method_and_a_new_image_need_no_training(copied_run, finished_run, play_tapes) -> None:
    before, committed = tape_files(copied_run), rows(copied_run)
    changed = {"--methods": "gradient,loss_gradient", "--panel": "0,2,3,5,7"}
    assert play_tapes(copied_run, changed) == 0
    assert tape_files(copied_run) == before
    frame = rows(copied_run)
    assert not frame.duplicated(list(IDENTITY["attribute_training"])).any()
    assert len(frame) == len(committed) + (2 * 5 - 4) * (NUM_STEPS + 1)
    assert (copied_run / "_SUCCESS").exists()
    assert verify(RunDirectory(copied_run)).problems == []


@pytest.mark.long
def test_a_grid_has_a_tape_a_trial(attribute_training) -> None:
    changed = {"--learning-rates": "0.001,0.01", "--seeds": "0,1", "--methods": "gradient", "--every": "6"}
    run = attribute_training(changed)
    frame = rows(run)
    assert sorted(frame["trial"].unique()) == [
        f"fashion_deep-fashion_mnist-lr{rate}-s{seed}" for rate in ("0.001", "0.01") for seed in (0, 1)
    ]
    assert frame.groupby(["learning_rate", "seed"]).size().eq(3 * len(PANEL)).all()
    ends = [
        run / "tapes" / trial / "checkpoints" / "step-00000012.safetensors"
        for trial in frame["trial"].unique()
    ]
    assert len({path.read_bytes() for path in ends}) == 4


@pytest.mark.long
def test_a_cut_tape_is_completed_with_the_same_weights(copied_run, finished_run, attribute_training) -> None:
    for path in (copied_run / "tapes" / TRIAL).rglob("step-00000008.safetensors"):
        path.unlink()
    attribute_training({"--methods": "gradient"}, output=copied_run)
    assert tape_files(copied_run) == tape_files(finished_run)


@pytest.mark.long
def test_a_tape_that_does_not_play_as_recorded_fails_its_shards_alone(copied_run, play_tapes, capfd) -> None:
    """One moment of the optimiser is changed, and the digest with it: only the hash at the end can tell."""
    folder = copied_run / "tapes" / TRIAL
    change_moment(folder)
    changed = {"--methods": "gradient", "--max-attempts": "1"}
    assert play_tapes(copied_run, changed) == 1
    into, out_of = sorted((copied_run / "failures").iterdir())  # segments 0 and 1
    assert "played to step 4, it does not arrive at the recorded optimizer, bit for bit" in into.read_text()
    assert "played to step 8, it does not arrive at the recorded weights and optimizer" in out_of.read_text()
    assert "another kind of processor, or a damaged checkpoint" in out_of.read_text()
    frame = rows(copied_run)
    assert sorted(frame.loc[frame["method"] == "gradient", "step"].unique()) == [*range(9, 13)]


def change_moment(folder: Path) -> None:
    optimizer, weights = (
        folder / kind / "step-00000004.safetensors" for kind in ("optimizer", "checkpoints")
    )
    state = safetensors.torch.load(optimizer.read_bytes())
    state["0.exp_avg"] += 1e-3
    optimizer.write_bytes(safetensors.torch.save(state))
    with safetensors.safe_open(weights, "pt") as file:
        facts = json.loads(file.metadata()["tape"])
    facts["optimizer"] = digest(state)
    tensors = safetensors.torch.load(weights.read_bytes())
    weights.write_bytes(safetensors.torch.save(tensors, {"tape": json.dumps(facts)}))


@pytest.mark.long
def test_a_training_that_diverges_keeps_what_came_before(
    attribute_training, data_root, tmp_path, capfd
) -> None:
    changed = {
        "--learning-rates": "1000",
        "--optimizer": "sgd",
        "--methods": "gradient",
        "--max-attempts": "1",
    }
    assert main(arguments(tmp_path / "run", data_root, changed | {"--segment": "1"})) == 1
    failures = [path.read_text() for path in (tmp_path / "run" / "failures").iterdir()]
    assert any("after 2 updates" in each and "did the training diverge?" in each for each in failures)
    assert any("the tape is cut short: recorded are steps 0 to 1 of 12" in each for each in failures)
    assert 0 in set(rows(tmp_path / "run")["step"])


def test_the_plan_says_what_would_run(capsys, tmp_path, data_root) -> None:
    assert main([*arguments(tmp_path / "run", data_root), "--plan"]) == 0
    said = capsys.readouterr().out
    assert "shards: 3, of which 3 remain" in said
    assert not (tmp_path / "run").exists()


def test_the_inputs_of_a_grid_know_their_length(data_root) -> None:
    options = AttributeTrainingOptions(output="run", data_root=data_root, epochs=2, segment=5)
    inputs = read_inputs(options)
    [trial] = inputs.trials.values()
    assert inputs.num_steps(trial) == 24
    assert inputs.num_segments(trial) == 5
    assert inputs.image_shape() == (1, 28, 28)


def test_sums_over_a_training_are_maps_that_can_be_scored(
    finished_run, data_root, in_this_process, tmp_path, capsys
) -> None:
    command = ["--data-root", str(data_root), "--num-workers", "1", "--output", str(tmp_path / "scored")]
    methods = "loss_gradient,training_integrated_gradient,training_integrated_gradient_x_input"
    assert attribute_all.main([*command, "--training", str(finished_run), "--methods", methods]) == 0
    frame = pd.read_parquet(tmp_path / "scored" / "results").sort_values(["method", "image_index"])
    assert set(frame["target"]) == {"loss"}
    parts = rows(finished_run).query("method == 'training_integrated_gradient'")
    sums = np.stack([np.stack(part["gradient_sum"]).sum(0) for _, part in parts.groupby("image_index")])
    stored = frame[frame["method"] == "training_integrated_gradient"]
    assert stored["image_index"].tolist() == list(PANEL)
    assert np.allclose(values(stored), sums, atol=1e-3 * np.abs(sums).max())
    weights = finished_run / "tapes" / TRIAL / "checkpoints" / f"step-{NUM_STEPS:08d}.safetensors"
    classifier = load_classifier("fashion_deep", weights=str(weights))
    assert set(frame["model_digest"]) == {classifier.digest}
    dataset = load_dataset("fashion_mnist", root=data_root)
    pixels = torch.from_numpy(dataset.images(PANEL, View.of(classifier))).float() / 255
    found = deletion_and_insertion(
        prepare(classifier, device="cpu"),
        pixels,
        -torch.from_numpy(sums).float().view_as(pixels),
        torch.tensor(stored["prediction"].to_numpy()),
    )
    assert np.allclose(stored["deletion_score"], found[0], atol=1e-5)
    assert np.allclose(stored["insertion_score"], found[1], atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--training", "RUN", "--images", "1"],
            "images: 1 is not among the 4 images that the training followed",
        ),
        (["--training", "RUN", "--model", "fashion_alexnet"], "the training is of fashion_deep"),
        (["--training", "RUN#nobody"], f"of {TRIAL}"),
        (["--training", "nowhere"], "nowhere is not one; accepted is a run directory"),
        ([], "it needs --training RUN"),
    ],
)
def test_mistakes_about_a_training_are_one_line(words, message, finished_run, data_root, refusal_of) -> None:
    words = [word.replace("RUN", str(finished_run)) for word in words]
    line = refusal_of(attribute_all.main, "--data-root", str(data_root))(
        "--methods", "training_integrated_gradient", *words
    )
    assert message in line


def test_a_training_that_lacks_a_segment_is_refused(copied_run, data_root, refusal_of) -> None:
    next((copied_run / "results").glob("*segment1*")).unlink()
    line = refusal_of(attribute_all.main, "--data-root", str(data_root))("--training", str(copied_run))
    assert "some states" in line
