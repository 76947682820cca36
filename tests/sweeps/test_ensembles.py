"""`--model A+B`: an ensemble in the sweeps, its settings, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from attrib_core.classifiers import load_classifier
from sweeps import attack_all, attribute_all, generate_all

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reference to fashion_deep with other weights."""
    noise = torch.Generator().manual_seed(0)
    state = {
        name: value + 0.02 * torch.randn(value.shape, generator=noise)
        for name, value in load_classifier("fashion_deep").network.state_dict().items()
    }
    file = tmp_path_factory.mktemp("weights") / "other.safetensors"
    safetensors.torch.save_file(state, file)
    return f"fashion_deep:weights={file}"


NAME = "fashion_deep+fashion_deep:weights=other.safetensors"
ATTACK = [
    "--images",
    "0-7",
    "--methods",
    "mifgsm:num_steps=2",
    "--epsilons",
    "0,8/255",
    "--save-images",
    "none",
]


@pytest.mark.parametrize("combination", ["logits", "losses"])
def test_an_ensemble_is_attacked_as_one_model(combination, other, tmp_path) -> None:
    run = tmp_path / "run"
    ensemble = ["--model", f"fashion_deep+{other}", "--ensemble", combination]
    assert attack_all.main(["--output", str(run), *ATTACK, *ensemble, "--evaluate-on", "fashion_deep"]) == 0
    frame = pd.read_parquet(run / "results")
    assert set(frame["model"]) == {NAME}
    digest = load_classifier(f"fashion_deep+{other}", ensemble=combination).digest
    assert set(frame["model_digest"]) == {digest}
    settings = json.loads((run / "sweep.json").read_text())["settings"]
    assert (settings["model"], settings["ensemble"]) == (NAME, combination)
    assert frame["victim_prediction.fashion_deep"].notna().all()
    clean = frame["epsilon"] == 0
    assert (
        frame["adversarial_margin"][~clean].to_numpy() < frame["clean_margin"][~clean].to_numpy()
    ).mean() > 0.8


def test_an_ensemble_is_explained_and_makes_images(other, tmp_path) -> None:
    model = ["--model", f"fashion_deep+{other}", "--ensemble", "probabilities"]
    given = ["--output", str(tmp_path / "maps"), "--images", "0-3", "--methods", "gradient", *model]
    assert attribute_all.main(given) == 0
    assert len(pd.read_parquet(tmp_path / "maps" / "results")) == 4
    given = ["--output", str(tmp_path / "images"), "--classes", "1", "--recipes", "plain", "--num-steps", "3"]
    assert generate_all.main([*given, *model]) == 0
    assert set(pd.read_parquet(tmp_path / "images" / "results")["model"]) == {NAME}


REFUSED: dict[str, tuple[Callable[[list[str]], int], list[str], str]] = {
    "no ensemble": (
        attack_all.main,
        ["--ensemble", "losses"],
        "ensemble='losses': --model 'fashion_deep' is no",
    ),
    "weights": (
        attack_all.main,
        ["--model", "{both}", "--weights", "x"],
        "is an ensemble; accepted is NAME:weights",
    ),
    "described": (
        attack_all.main,
        ["--model", "{both}", "--mean", "0.5", "--std", "0.5"],
        "are those of each member",
    ),
    "judge": (generate_all.main, ["--model", "{both}", "--judges", "fashion_deep"], "makes the images"),
    "own loss": (
        attack_all.main,
        ["--model", "{both}", "--ensemble", "losses", "--methods", "foolbox:LinfPGD"],
        "foolbox:LinfPGD computes a loss of its own",
    ),
    "not normalised": (
        generate_all.main,
        ["--model", "{both}", "--input-scaling", "none", "--classes", "1"],
        "is an ensemble; accepted is 'model'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_an_ensemble_cannot_be_is_refused(case, other, tmp_path, capsys) -> None:
    main, arguments, words = REFUSED[case]
    given = [argument.format(both=f"fashion_deep+{other}") for argument in arguments]
    assert main(["--output", str(tmp_path / "run"), *given]) == 2
    assert words in capsys.readouterr().err
    assert not Path(tmp_path / "run").exists()
