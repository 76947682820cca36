"""The training command: what it writes, and how it takes mistakes and interruptions."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image

from attrib_core.classifiers import Description, load_classifier
from attrib_core.datasets import View, load_dataset
from attrib_core.training import initial_network
from sweeps.train_classifier import main

REPOSITORY = Path(__file__).parents[2]
FLOWER_CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """A small Fashion-MNIST: 40 training and 20 test images, the label as a bright bar."""
    root = tmp_path / "data"
    root.mkdir()
    for prefix, count in (("train", 40), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 6] = 250
        write_idx(root / f"{prefix}-images-idx3-ubyte", images)
        write_idx(root / f"{prefix}-labels-idx1-ubyte", labels)
    return root


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A folder of the Kaggle set's layout: 12 photographs of one colour a class, of odd sizes."""
    for number, name in enumerate(FLOWER_CLASSES):
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for index in range(12):
            photograph = Image.new("RGB", (40 + index, 60), (50 * number, 20 * index, 90))
            photograph.save(tmp_path / "flowers" / name / f"{index}.jpg")
    return tmp_path / "flowers"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "trained.safetensors"


@pytest.fixture
def train(data_root: Path, output: Path) -> Callable[..., int]:
    """Runs the command on the small data set: ten updates of eight images unless told otherwise."""

    def run(*arguments: str) -> int:
        given = ["--data-root", str(data_root), "--output", str(output), "--threads", "1"]
        try:
            return main([*given, "--epochs", "2", "--batch-size", "8", *arguments])
        except SystemExit as exit_:  # tyro ends the process itself
            return int(exit_.code or 0)

    return run


@pytest.fixture(autouse=True)
def same_threads():
    """The command sets torch's threads and SIGTERM's handler for its own process."""
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)


def write_idx(path: Path, values: np.ndarray) -> None:
    path.write_bytes(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes())


def metadata(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, framework="pt") as file:
        return file.metadata()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_trained_weights_are_a_classifiers_and_say_what_made_them(
    train: Callable[..., int], output: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--seed", "3") == 0
    assert load_classifier("fashion_deep", weights=str(output)).num_classes == 10
    made = metadata(output)
    assert made["model"] == "fashion_deep"
    assert made["seed"] == "3"
    assert made["torch_version"] == torch.__version__
    assert made["train_digest"] == load_dataset("fashion_mnist", split="train", root=data_root).digest
    assert json.loads(made["settings"])["batch_size"] == 8
    assert 0 <= float(made["test_accuracy"]) <= 1
    assert names(output.parent) == ["trained.safetensors"]
    printed = capsys.readouterr().out
    assert "epoch 2/2: loss" in printed
    assert "test accuracy" in printed


def test_the_same_command_writes_the_same_bytes(train: Callable[..., int], output: Path) -> None:
    train()
    first = output.read_bytes()
    assert train("--overwrite") == 0
    assert output.read_bytes() == first


def test_checkpoints_reach_from_the_first_state_to_the_last(
    train: Callable[..., int], output: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "steps"
    assert train("--checkpoints", str(folder), "--checkpoint-every", "4") == 0
    assert names(folder) == [f"step-{step:08d}.safetensors" for step in (0, 4, 8, 10)]
    states = [safetensors.torch.load_file(path) for path in sorted(folder.iterdir())]
    untrained = initial_network("fashion_deep", 10, seed=0).state_dict()
    assert all(torch.equal(states[0][name], tensor) for name, tensor in untrained.items())
    trained = safetensors.torch.load_file(output)
    assert all(torch.equal(states[-1][name], tensor) for name, tensor in trained.items())
    digests = {load_classifier("fashion_deep", weights=str(path)).digest for path in folder.iterdir()}
    assert len(digests) == 4


def test_checkpoints_never_change_the_training(
    train: Callable[..., int], output: Path, tmp_path: Path
) -> None:
    train()
    plain = safetensors.torch.load_file(output)
    train("--overwrite", "--checkpoints", str(tmp_path / "steps"), "--checkpoint-every", "1")
    watched = safetensors.torch.load_file(output)
    assert all(torch.equal(plain[name], tensor) for name, tensor in watched.items())


def test_checkpoints_of_another_training_are_cleared_away(train: Callable[..., int], tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    train("--checkpoints", str(folder), "--checkpoint-every", "1")
    (folder / "notes.txt").write_text("mine")
    assert train("--checkpoints", str(folder), "--epochs", "1", "--overwrite") == 0
    assert names(folder) == ["notes.txt", "step-00000000.safetensors", "step-00000005.safetensors"]


@pytest.mark.parametrize("model", ["flower_deep", "flower_deep_grey"])
def test_a_pair_of_flowers_trains_in_colour_and_in_grey(model: str, flowers: Path, output: Path) -> None:
    arguments = ["--model", model, "--data-root", str(flowers), "--classes", "tulip,daisy"]
    assert main([*arguments, "--output", str(output), "--epochs", "1", "--batch-size", "8"]) == 0
    assert json.loads(metadata(output)["class_names"]) == ["daisy", "tulip"]
    classifier = load_classifier(model, weights=str(output))
    assert classifier(torch.rand(1, classifier.channels, 256, 256)).shape == (1, 2)


def test_all_five_flowers_train(flowers: Path, output: Path) -> None:
    arguments = ["--model", "flower_deep", "--data-root", str(flowers), "--output", str(output)]
    assert main([*arguments, "--epochs", "1"]) == 0
    assert load_classifier("flower_deep", weights=str(output)).class_names == FLOWER_CLASSES


def test_the_original_recipe_is_alexnets_schedule(train: Callable[..., int], output: Path) -> None:
    assert train("--model", "fashion_alexnet", "--recipe", "original", "--epochs", "1") == 0
    settings = json.loads(metadata(output)["settings"])
    assert (settings["optimizer"], settings["schedule"]) == ("sgd", "inverse_time")
    assert (settings["learning_rate"], settings["momentum"], settings["weight_decay"]) == (0.01, 0.9, 5e-4)


MISTAKES = {
    "model": (["--model", "fashion_deap"], "model='fashion_deap': unknown; near matches are fashion_deep"),
    "dataset": (["--dataset", "mnist"], "dataset='mnist': accepted are fashion_mnist"),
    "no dataset": (["--model", "resnet18"], "dataset: needed for a model other than fashion_deep"),
    "data root": (["--data-root", "/nowhere"], "data_root='/nowhere': "),
    "split": (["--test-split", "val"], "split='val': fashion_mnist has"),
    "class": (["--classes", "Boot"], "classes: unknown name 'Boot'"),
    "epochs": (["--epochs", "-1"], "epochs=-1: accepted are 0 and more"),
    "batch": (["--batch-size", "0"], "batch_size=0: accepted are 1 and more"),
    "learning rate": (["--learning-rate", "-1"], "learning_rate=-1.0: accepted are positive numbers"),
    "recipe": (["--recipe", "original"], "recipe='original': fashion_deep has none"),
    "device": (["--device", "cuda:9"], "device='cuda:9': this machine has none"),
    "threads": (["--threads", "0"], "threads=0: accepted are 1 and more"),
    "suffix": (
        ["--output", "weights.pt"],
        "output='weights.pt': accepted are files that end in .safetensors",
    ),
    "place": (["--output", "/proc/none/w.safetensors"], "output: cannot write to '/proc/none'"),
    "no folder": (["--checkpoint-every", "5"], "checkpoint_every=5: needs a folder, --checkpoints DIR"),
    "every": (["--checkpoints", "steps", "--checkpoint-every", "0"], "checkpoint_every=0: accepted are 1"),
    "checkpoints": (["--checkpoints", "/proc/none"], "checkpoints: cannot write to '/proc/none'"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(
    train: Callable[..., int],
    output: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not list(tmp_path.rglob("*.safetensors"))


def test_an_unknown_option_is_refused(train: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--epoch", "1") == 2
    assert "--epoch" in capsys.readouterr().err


def test_what_exists_is_not_overwritten_unasked(
    train: Callable[..., int], output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "steps"
    train("--checkpoints", str(folder))
    before = output.read_bytes()
    assert train() == 2
    assert "it exists; another name or --overwrite" in capsys.readouterr().err
    assert train("--output", str(tmp_path / "other.safetensors"), "--checkpoints", str(folder)) == 2
    assert "holds some already; another folder or --overwrite" in capsys.readouterr().err
    assert output.read_bytes() == before


def test_a_training_that_diverges_says_so_and_writes_no_weights(
    train: Callable[..., int], output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "steps"
    assert train("--optimizer", "sgd", "--learning-rate", "1e30", "--checkpoints", str(folder)) == 1
    printed = capsys.readouterr().err
    assert "the loss is" in printed
    assert f"Kept: 1 checkpoint in {folder}" in printed
    assert not output.exists()


def test_weights_that_the_last_update_ruined_are_not_written(
    train: Callable[..., int], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One update in all: its own loss is still that of the first weights.
    arguments = ["--optimizer", "sgd", "--learning-rate", "1e10", "--weight-decay", "1e38"]
    assert train(*arguments, "--warmup-steps", "0", "--epochs", "1", "--batch-size", "40") == 1
    assert "the last update made weights that are no numbers" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("kind", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupted_training_says_what_it_kept(
    data_root: Path, output: Path, tmp_path: Path, kind: signal.Signals
) -> None:
    folder = tmp_path / "steps"
    arguments = ["--data-root", str(data_root), "--output", str(output), "--checkpoints", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "sweeps/train_classifier.py", *arguments, "--epochs", "100000", "--threads", "1"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("step-*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(kind)
    _, printed = process.communicate(timeout=30)
    assert process.returncode == 130
    assert printed.startswith("Interrupted after ")
    assert f"Kept: {len(list(folder.iterdir()))} checkpoints in {folder}; {output} was not written" in printed
    assert printed.count("\n") == 1
    for path in folder.iterdir():  # whole, or not there
        load_classifier("fashion_deep", weights=str(path))


OWN = """
from torch import nn

def make_net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 10))
"""


def test_images_of_an_own_network_are_as_described(
    train, output: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = tmp_path / "net.py"
    net.write_text(OWN)
    words = ["--dataset", "fashion_mnist", "--model", f"{net}:make_net", "--image-size", "20"]
    scaled = ["--mean", "0.25", "--std", "0.5"]
    assert train(*words, *scaled) == 0
    said = capsys.readouterr().out
    assert f"--weights {output} --mean 0.25 --std 0.5 --image-size 20" in said
    described = Description(image_size=20, mean=[0.25], std=[0.5])
    model = load_classifier(f"{net}:make_net", weights=output, description=described)
    test = load_dataset("fashion_mnist", split="test", root=data_root)
    images = torch.from_numpy(test.images(range(len(test)), View.of(model))) / 255
    right = (model(images).argmax(1).numpy() == test.labels).mean()
    assert f"test accuracy {right:.2%}" in said
    weights = safetensors.torch.load_file(output)
    output.unlink()
    assert train(*words) == 0  # another scaling is another training
    assert not torch.equal(weights["0.weight"], safetensors.torch.load_file(output)["0.weight"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image-size", "40"], "image_size=40: fashion_deep fails on images of 1 x 40 x 40"),
        (["--image-size", "0"], "image_size=0: accepted are whole numbers from 1"),
        (["--mean", "0.5"], "mean=(0.5,) and std=None: accepted are both or neither"),
        (["--mean", "a", "--std", "1"], "mean='a': accepted are numbers such as"),
    ],
)
def test_images_that_the_network_does_not_take_are_one_line(
    words: list[str], message: str, train, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not output.parent.exists()
