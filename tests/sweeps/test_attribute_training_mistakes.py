"""A user's mistake in attribution along training: status 2, one line that names it, nothing made or lost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from attrib_core.attribution import METHODS
from attrib_core.datasets import load_dataset
from sweeps.attribute_training import main
from sweeps.store.local_files import LocalFiles

TRIAL = "fashion_deep-fashion_mnist-lr0.001-s0"


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory, write_fashion_mnist) -> Path:
    return write_fashion_mnist(tmp_path_factory.mktemp("data"), num_train=40, num_test=10)


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def refusal(
    in_this_process: None, tmp_path: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The line with which arguments are refused; what lay in the folder of the output lies there still."""

    def run(*arguments: str) -> str:
        before = tree(tmp_path)
        options = ["--output", str(tmp_path / "run"), "--panel", "0-3", "--data-root", str(data_root)]
        assert main([*options, *arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1, printed.err
        assert tree(tmp_path) == before
        return printed.err

    return run


MISTAKES = {
    "method": (["--methods", "gradeint"], "methods: unknown name 'gradeint'; accepted: names"),
    "panel": (["--panel", "0-10"], "panel: '0-10' is past the last, 9"),
    "model": (["--model", "fashion_depp"], "model='fashion_depp': unknown; near matches are fashion_deep"),
    "two shapes": (["--model", "fashion_deep,flower_deep"], "model: images of several shapes"),
    "data set": (["--dataset", "mnist"], "dataset='mnist': accepted are"),
    "learning rate": (["--learning-rates", "fast"], "learning_rates: 'fast' is not a number"),
    "no learning": (["--learning-rates", "0"], "learning_rate=0.0: accepted are positive numbers"),
    "rate twice": (["--learning-rates", "0.1,1/10"], "learning_rates: 0.1 is listed twice"),
    "rates alike": (["--learning-rates", "0.1,0.10000001"], "two trials would be called"),
    "seed": (["--seeds=-1"], "seeds: '-1' is not an integer or a range"),
    "epochs": (["--epochs", "0"], "epochs: 0 is not accepted"),
    "batch": (["--batch-size", "0"], "batch_size: 0 is not accepted"),
    "segment": (["--segment", "0"], "segment: 0 is not accepted"),
    "momentum": (["--momentum", "1"], "momentum=1.0: accepted are [0, 1)"),
    "window": (["--window-size", "0"], "window_size=0: accepted are"),
    "split": (["--split", "validation"], "split='validation'"),
    "root": (["--data-root", "/nowhere"], "data_root='/nowhere': lacks"),
    "half precision": (["--precision", "float16"], "precision: 'float16' needs GPUs"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_value_that_cannot_be_is_named_with_what_could_be(case, refusal) -> None:
    arguments, expected = MISTAKES[case]
    assert expected in refusal(*arguments)


def test_a_shard_that_no_actor_could_hold_is_refused_before_any_training(refusal, tmp_path) -> None:
    root = tmp_path / "flowers"
    for name in ("daisy", "rose"):
        (root / name).mkdir(parents=True)
        for index in range(40):
            Image.new("RGB", (32, 32), (index, 9, 9)).save(root / name / f"{index}.png")
    said = refusal(
        *("--model", "flower_deep", "--dataset", f"imagefolder:{root}", "--methods", ",".join(METHODS)),
        *("--segment", "1000", "--epochs", "1000", "--split", "all", "--panel-split", "all"),
    )
    assert "segment=1000: its attributions are" in said
    assert "a smaller --segment, a larger --every, fewer methods or images" in said


def test_a_tape_of_another_training_is_refused_before_any_work(refusal, tmp_path) -> None:
    header = {"model": "fashion_deep", "dataset": "other", "data_digest": "0", "segment": 250, "num_steps": 3}
    settings = {"epochs": 1, "batch_size": 16, "learning_rate": 0.001}
    path = f"run/tapes/{TRIAL}/tape.json"
    LocalFiles(tmp_path).put(path, json.dumps(header | {"settings": settings}).encode())
    said = refusal()
    assert (
        "the tape is of another training: dataset: recorded 'other', asked for 'fashion_mnist train'" in said
    )


def test_a_tape_that_cannot_be_read_is_named(refusal, tmp_path) -> None:
    LocalFiles(tmp_path).put(f"run/tapes/{TRIAL}/tape.json", b"{")
    assert f"tapes/{TRIAL}/tape.json: it is no tape's header" in refusal()


def test_a_tape_from_another_version_of_torch_is_no_mistake(data_root, tmp_path, capsys) -> None:
    """It is played, and proves by its hashes whether this version does the same."""
    header = {"model": "fashion_deep", "dataset": "fashion_mnist train", "segment": 250, "num_steps": 3}
    settings = {"epochs": 1, "batch_size": 16, "learning_rate": 0.001, "schedule": "constant"}
    digest = load_dataset("fashion_mnist", split="train", root=data_root).digest
    content = header | {"settings": settings, "data_digest": digest, "torch_version": "1.0.0"}
    assert torch.__version__ != "1.0.0"
    LocalFiles(tmp_path).put(f"run/tapes/{TRIAL}/tape.json", json.dumps(content).encode())
    arguments = ["--output", str(tmp_path / "run"), "--panel", "0-3", "--data-root", str(data_root), "--plan"]
    assert main(arguments) == 0
