"""A user's mistake: exit status 2, one line on stderr that names it, and nothing made or lost."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from attrib_core.classifiers import Architecture, Labels, Preprocessing, load_classifier, registry
from sweeps.attack_all import AttackOptions, attack_sweep, main
from sweeps.cli import parse_options
from sweeps.runner import record
from sweeps.store import RunDirectory


@pytest.fixture
def refusal(refusal_of) -> Callable[..., str]:
    return refusal_of(main, "--images", "0-7")


def test_an_unknown_option_ends_with_status_2(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--epsilon", "0.1", "--output", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert "--epsilons" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_kernel_larger_than_the_images_can_feel(refusal) -> None:
    said = refusal("--methods", "tim:kernel_size=57")
    assert "kernel_size=57: accepted are odd numbers from 1 to 55 for images of 28 x 28" in said


def test_weights_of_another_network(refusal, tmp_path) -> None:
    weights = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"head.weight": torch.zeros(10, 5)}, weights)
    assert "not for fashion_deep: another architecture" in refusal("--weights", str(weights))


def test_checkpoints_of_the_same_name(refusal, tmp_path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        state = load_classifier("fashion_deep").network.state_dict()
        safetensors.torch.save_file(state, tmp_path / folder / "step-1.safetensors")
    said = refusal("--checkpoints", f"{tmp_path}/a,{tmp_path}/b")
    assert "checkpoints: two are called 'step-1'" in said


def test_a_folder_of_no_checkpoints(refusal, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is no folder with *.safetensors files" in refusal("--checkpoints", str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"cut off", "neither a safetensors nor a torch file"),
     (safetensors.torch.save({"head.weight": torch.zeros(10, 5)}), "another architecture")],
    ids=["corrupt", "architecture"],
)  # fmt: skip
def test_a_checkpoint_that_is_none_is_named_among_those_that_are(
    content, expected, refusal, tmp_path
) -> None:
    state = load_classifier("fashion_deep").network.state_dict()
    safetensors.torch.save_file(state, tmp_path / "step-1.safetensors")
    (tmp_path / "step-2.safetensors").write_bytes(content)
    said = refusal("--checkpoints", str(tmp_path))
    assert f"{tmp_path}/step-2.safetensors" in said
    assert expected in said


def test_a_corrupt_data_file(refusal, tmp_path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03 cut off")
    (data / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x01\x02")
    assert str(data / "t10k-images-idx3-ubyte") in refusal("--data-root", str(data))


def test_a_data_set_of_more_classes_than_the_classifier(refusal, tmp_path) -> None:
    from PIL import Image

    for index in range(11):
        (tmp_path / "photos" / f"class{index:02d}").mkdir(parents=True)
        Image.new("L", (28, 28), index).save(tmp_path / "photos" / f"class{index:02d}" / "0.png")
    said = refusal("--dataset", f"imagefolder:{tmp_path / 'photos'}")
    assert "has 11 classes, fashion_deep only 10" in said


@pytest.fixture
def probabilities() -> Iterator[str]:
    """A registered network whose outputs are probabilities, as those of many a teaching example."""

    class Softmaxed(Architecture):
        name, num_classes, weights_names, default_weights = "softmaxed", 10, ("made",), "made"

        def network(self, num_classes, weights_name, *, untrained=False):
            return nn.Sequential(nn.Softmax(1), nn.Flatten(), nn.Linear(784, num_classes), nn.Softmax(1))

        def fetch(self, weights_name):
            return self.network(10, None).state_dict()

        def preprocessing(self, weights_name):
            return Preprocessing(mean=(0.0,), std=(1.0,), image_size=28)

        def labels(self, num_classes):
            return Labels.numbered(num_classes)

    registry.register("softmaxed")(Softmaxed)
    yield "softmaxed"
    del registry._BUILDERS["softmaxed"]


def test_a_model_that_answers_with_probabilities(refusal, probabilities) -> None:
    said = refusal("--model", probabilities)
    assert "checkpoint 'trained': its outputs are probabilities; accepted are logits" in said


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., None]:
    """Makes tmp_path/run a directory that was asked for something."""

    def write(*arguments: str) -> None:
        options = parse_options(
            AttackOptions, ["--output", str(tmp_path / "run"), "--images", "0-7", *arguments]
        )
        record(RunDirectory(options.output), attack_sweep(options), 8)

    return write


def test_a_checkpoint_whose_weights_changed(recorded, refusal, tmp_path) -> None:
    weights = tmp_path / "weights.safetensors"
    state = load_classifier("fashion_deep").network.state_dict()
    safetensors.torch.save_file(state, weights)
    recorded("--weights", str(weights))
    state["head.bias"] = state["head.bias"] + 1
    safetensors.torch.save_file(state, weights)
    assert "checkpoint trained: its definition has changed" in refusal("--weights", str(weights))


def test_a_directory_of_another_sweep(refusal, tmp_path) -> None:
    RunDirectory(tmp_path / "run").update_sweep(lambda _: {"sweep": "generate", "settings": {}})
    assert "the directory holds a sweep of kind 'generate', not 'attack'" in refusal()


def test_an_output_where_nobody_may_write(refusal) -> None:
    assert "/proc/run cannot be written" in refusal("--output", "/proc/run")


def test_an_output_that_is_a_file(refusal, tmp_path) -> None:
    (tmp_path / "file").touch()
    said = refusal("--output", str(tmp_path / "file"))
    assert "it is a file, not a folder" in said
    assert (tmp_path / "file").stat().st_size == 0
