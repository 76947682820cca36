"""Attribution under several sets of weights, and scores that are asked for later."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.attribution.attributions import attribution_rows, attributions
from analysis.load import results
from attrib_core.attribution import METHODS, Request, attribute
from attrib_core.attribution import attributions as attributions_on_device
from attrib_core.classifiers import build_classifier, load_classifier, read_checkpoint
from attrib_core.classifiers.randomized import Randomization
from attrib_core.datasets import View, load_dataset
from attrib_core.prepared import prepare
from sweeps.attribute_all import main
from sweeps.schemas import IDENTITY
from sweeps.store import RunDirectory
from sweeps.store.verification import verify

NUM_IMAGES = 6
CHECKPOINTS = "trained,untrained,randomized:1-2,randomized:all"
OPTIONS = {
    "--images": f"0-{NUM_IMAGES - 1}",
    "--methods": "gradient_x_input,occlusion",
    "--save-images": "none",
    "--shard-size": "4",
    "--num-workers": "1",
    "--threads-per-worker": "1",
}


@pytest.fixture
def attribute_all(in_this_process: None, tmp_path: Path) -> Callable[..., Path]:
    """Runs the sweep with changed options, in a run directory of that name."""

    def run(name: str = "run", **changed: str) -> Path:
        options = OPTIONS | {f"--{key}": value for key, value in changed.items()}
        words = [word for option in options.items() for word in option]
        assert main([*words, "--output", str(tmp_path / name)]) == 0
        return tmp_path / name

    return run


def rows(run: Path) -> pd.DataFrame:
    return results(run).sort_values([*IDENTITY["attribute"]]).reset_index(drop=True)


def images(count: int = NUM_IMAGES) -> torch.Tensor:
    view = View(image_size=28, channels=1)
    return torch.from_numpy(load_dataset("fashion_mnist").images(range(count), view)).float() / 255


def test_each_checkpoint_has_its_rows_and_its_digest(attribute_all) -> None:
    frame = rows(attribute_all(checkpoints=CHECKPOINTS))
    assert frame.groupby("checkpoint", observed=True).size().to_dict() == dict.fromkeys(
        ["trained", "untrained", "randomized:1", "randomized:2", "randomized:all"], NUM_IMAGES * 2
    )
    digests = frame.groupby("checkpoint", observed=True)["model_digest"].unique()
    assert digests["untrained"].tolist() == digests["randomized:all"].tolist()
    assert len({digest for found in digests for digest in found}) == 4
    assert verify(RunDirectory(attribute_all(checkpoints=CHECKPOINTS))).problems == []


def test_untrained_and_redrawn_weights_explain_what_the_trained_ones_predict(attribute_all) -> None:
    frame = rows(attribute_all(checkpoints="randomized:1"))
    labels = torch.from_numpy(load_dataset("fashion_mnist").labels[:NUM_IMAGES])
    predicted = attribute(load_classifier("fashion_deep"), images(), labels, ["gradient"]).prediction
    assert frame.groupby("image_index")["explained_class"].first().tolist() == predicted.tolist()
    assert (frame["explained_class"] != frame["prediction"]).any()
    drawn = Randomization.of(read_checkpoint("fashion_deep")).redrawn(1, "randomized:1")
    model = prepare(build_classifier(drawn), device="cpu")
    request = Request(
        target="predicted", keys=tuple(range(NUM_IMAGES)), explained=predicted, scores=("deletion",)
    )
    found = attributions_on_device(model, images(), labels, ["gradient_x_input"], request)
    stored, values = attributions(attribute_all(checkpoints="randomized:1"), methods=["gradient_x_input"])
    np.testing.assert_allclose(
        values, found.values["gradient_x_input"], atol=1e-3 * stored["attribution_scale"].max()
    )
    np.testing.assert_allclose(stored["deletion_score"], found.scores["deletion_score"][:, 0], atol=1e-5)


def test_checkpoints_may_be_added_and_the_trained_rows_stay(attribute_all) -> None:
    run = attribute_all()
    before = {file.name: file.read_bytes() for file in (run / "results").iterdir()}
    assert "checkpoint" not in json.loads((run / "sweep.json").read_text())["blocks"][0]["axes"]
    attribute_all(checkpoints=CHECKPOINTS)
    after = {file.name: file.read_bytes() for file in (run / "results").iterdir()}
    assert before.items() <= after.items()
    assert len(after) == 5 * len(before)
    pd.testing.assert_frame_equal(
        rows(run).drop(columns=["shard_id"]),
        rows(attribute_all("fresh", checkpoints=CHECKPOINTS)).drop(columns=["shard_id"]),
    )


def test_weights_that_were_never_trained_are_called_so(attribute_all) -> None:
    run = attribute_all(weights="untrained")
    frame = rows(run)
    assert set(frame["checkpoint"]) == {"untrained"}
    assert (frame["explained_class"] == frame["prediction"]).all()
    before = sorted((run / "results").iterdir())
    attribute_all(weights="untrained", checkpoints="untrained")
    assert sorted((run / "results").iterdir()) == before


def test_scores_that_are_asked_for_later_are_those_of_a_first_command(attribute_all) -> None:
    run = attribute_all(scores="insertion")
    first = rows(run)
    assert first["deletion_score"].isna().all()
    before = {file.name: file.read_bytes() for file in (run / "results").iterdir()}
    attribute_all(scores="deletion")
    assert {file.name: file.read_bytes() for file in (run / "results").iterdir()} == before
    assert verify(RunDirectory(run)).beside == {"scores": (2, NUM_IMAGES * 2)}
    expected = rows(attribute_all("fresh", scores="deletion,insertion"))
    ours = ["shard_id"]
    pd.testing.assert_frame_equal(rows(run).drop(columns=ours), expected.drop(columns=ours))
    assert attribution_rows(run)["deletion_score"].notna().all()


def test_a_command_that_names_no_scores_means_those_of_the_directory(attribute_all) -> None:
    attribute_all(scores="insertion")
    attribute_all(scores="deletion")
    run = attribute_all(images=f"0-{NUM_IMAGES}")
    assert len(rows(run)) == 2 * (NUM_IMAGES + 1)
    assert rows(run)[["deletion_score", "insertion_score"]].notna().all(axis=None)


def test_all_methods_are_those_that_the_network_can_have(attribute_all, tmp_path, capsys) -> None:
    file = tmp_path / "flat.py"
    file.write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    described = {"model": f"{file}:make", "image-size": "28", "mean": "0", "std": "1"}
    frame = rows(attribute_all(methods="all", images="0-1", **described))
    assert set(METHODS) - set(frame["method"]) == {"grad_cam", "guided_grad_cam"}
    assert "grad_cam is left out: flat.py:make has no layer" in capsys.readouterr().err


def test_steps_on_the_path_are_stored(attribute_all) -> None:
    methods = "gradient,integrated_gradients:num_steps=8,integrated_gradients:num_steps=auto:tolerance=0.2"
    frame = rows(attribute_all(methods=methods)).set_index("method")["num_path_steps"]
    assert frame["gradient"].isna().all()
    assert (frame["integrated_gradients:num_steps=8"] == 8).all()
    auto = frame[methods.rpartition(",")[2]]
    assert auto.isin([16, 32, 64, 128, 256, 512, 1024]).all()
    assert auto.nunique() > 1


def test_no_scores_at_all(attribute_all) -> None:
    assert rows(attribute_all(scores="none"))[["deletion_score", "insertion_score"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--checkpoints", "randomized:13", "1 to 12, randomized:1-12, and randomized:all"),
        ("--checkpoints", "randomized:0", "'randomized:0'; accepted are randomized:K"),
        ("--checkpoints", "randomized", "'randomized'; accepted are randomized:K of the last K layers"),
        ("--checkpoints", "randomized:1,randomized:1-2", "two are called 'randomized:1'"),
        ("--checkpoints", "randomised:1", "'randomised:1' is no folder"),
        ("--scores", "deletoin", "no score 'deletoin'; near matches are deletion"),
        ("--scores", "deletion:steps=3", "deletion has no settings; accepted is its name alone"),
        ("--scores", "deletion,deletion", "'deletion' is listed twice"),
    ],
)
def test_mistakes_are_one_line(option, value, message, refusal_of) -> None:
    line = refusal_of(main, "--images", "0-3")(option, value)
    assert message in line
    assert line.startswith(f"error: {option.removeprefix('--')}")


def test_layers_of_a_network_that_was_never_trained_are_not_redrawn(refusal_of) -> None:
    line = refusal_of(main, "--images", "0-3", "--weights", "untrained")("--checkpoints", "randomized:1")
    assert "accepted is --weights of a trained network" in line
