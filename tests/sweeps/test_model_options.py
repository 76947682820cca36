"""Weights of one's own in a sweep: their description is applied, recorded and refused where it cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from attrib_core.classifiers import Preprocessing
from sweeps import attack_all, attribute_all, generate_all, modify_all
from sweeps.attack_all import AttackOptions, attack_sweep
from sweeps.cli import parse_options
from sweeps.generate_all import GenerateOptions, generation_sweep
from sweeps.model_options import read_class_names
from sweeps.runner import record
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep

DESCRIBED = ["--mean", "0.4,0.5,0.6", "--std", "0.2,0.3,0.4", "--image-size", "32"]


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    """Return a folder of two classes, with images of 32×32."""
    noise = np.random.default_rng(0)
    for name in ("0", "1"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(3):
            pixels = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index}.png")
    return f"imagefolder:{tmp_path / 'pictures'}"


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """Return a file of weights of shufflenet_v2_x0_5 with two classes."""
    torch.manual_seed(0)
    torch.save(torchvision.models.shufflenet_v2_x0_5(num_classes=2).state_dict(), tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


@pytest.fixture
def sweep_of(tmp_path: Path, pictures: str, weights: str) -> Callable[..., Sweep]:
    """Make the sweep of a command line with these weights and pictures."""

    def make(*arguments: str) -> Sweep:
        given = ["--output", str(tmp_path / "run"), "--model", "shufflenet_v2_x0_5", "--weights", weights]
        return attack_sweep(parse_options(AttackOptions, [*given, "--dataset", pictures, *arguments]))

    return make


def test_images_of_the_stated_size_reach_the_network_as_they_are(sweep_of: Callable[..., Sweep]) -> None:
    sweep = sweep_of(*DESCRIBED)
    inputs = sweep.shared
    assert inputs.image_shape == (3, 32, 32)
    assert inputs.checkpoint.preprocessing == Preprocessing(
        mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), image_size=32, interpolation="bilinear"
    )
    assert inputs.model_notes == ()
    described = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "image_size": 32}
    assert described.items() <= sweep.settings.items()


def test_without_a_description_the_assumptions_are_said_and_nothing_is_recorded_in_the_settings(
    sweep_of: Callable[..., Sweep],
) -> None:
    sweep = sweep_of()
    doubt, enlarged = sweep.shared.model_notes
    assert "2 classes, not the 1000 of shufflenet_v2_x0_5; images are resized to 224" in doubt
    assert enlarged.endswith("6 of 6 images looked at are enlarged, such as one of 32×32 to 256×256")
    assert {doubt, enlarged} <= set(sweep.notes)
    assert sweep.provenance["notes"] == [doubt, enlarged]
    assert not {"mean", "std", "image_size", "channels", "class_names"} & sweep.settings.keys()


def test_names_of_classes_come_from_a_file(sweep_of: Callable[..., Sweep], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    sweep = sweep_of("--class-names", str(tmp_path / "names.txt"), "--label-order", "index")
    assert sweep.shared.class_names == ("cat", "dog")
    assert sweep.settings["class_names"].startswith("2 names, SHA-256 ")


def test_a_generator_is_described_too(weights: str, tmp_path: Path) -> None:
    given = [
        "--model",
        "shufflenet_v2_x0_5",
        "--weights",
        weights,
        "--judges",
        "none",
        "--output",
        str(tmp_path / "run"),
    ]
    options = parse_options(
        GenerateOptions, [*given, "--mean", "0,0,0", "--std", "1,1,1", "--image-size", "64"]
    )
    sweep = generation_sweep(options)
    assert sweep.shared.model.preprocessing.mean == (0, 0, 0)
    assert sweep.settings["mean"] == [0, 0, 0]
    assert sweep.settings["image_size"] == 64
    assert sweep.notes == ()


OTHERWISE = {
    "added": ([], DESCRIBED, "mean: the directory was made with None, this command asks for [0.4, 0.5, 0.6]"),
    "left out": (
        DESCRIBED,
        [],
        "mean: the directory was made with [0.4, 0.5, 0.6], this command asks for None",
    ),
    "changed": (
        DESCRIBED,
        [*DESCRIBED[:-1], "48"],
        "image_size: the directory was made with 32, this command asks for 48",
    ),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_a_directory_that_was_made_under_another_description(
    case: str,
    sweep_of: Callable[..., Sweep],
    pictures: str,
    weights: str,
    refusal_of: Callable[..., Callable[..., str]],
    tmp_path: Path,
) -> None:
    before, now, expected = OTHERWISE[case]
    record(RunDirectory(tmp_path / "run"), sweep_of(*before), 4)
    refusal = refusal_of(
        attack_all.main, "--model", "shufflenet_v2_x0_5", "--weights", weights, "--dataset", pictures
    )
    assert expected in refusal(*now)


MISTAKES = {
    "mean without std": (["--mean", "0.5"], "mean=(0.5,) and std=None: accepted are both or neither"),
    "words": (
        ["--mean", "half", "--std", "1"],
        "mean='half': accepted are numbers such as 0.485,0.456,0.406",
    ),
    "no deviation": (["--mean", "0.5", "--std", "0"], "std=(0.0,): accepted are positive numbers"),
    "lengths": (["--mean", "0.5,0.5", "--std", "1"], "accepted is one number of each for each channel"),
    "channels": (["--channels", "3"], "channels=3: fashion_deep has mean and std for 1; accepted with"),
    "size": (["--image-size", "32"], "image_size=32: fashion_deep cannot take images of this size"),
    "no size": (["--image-size", "0"], "image_size: 0 is not accepted"),
    "no file": (["--class-names", "missing.txt"], "class_names='missing.txt': cannot be read"),
}
MAINS = {"attack": attack_all.main, "attribute": attribute_all.main, "modify": modify_all.main}


@pytest.mark.parametrize("sweep", MAINS)
@pytest.mark.parametrize("case", MISTAKES)
def test_a_description_that_cannot_be_is_named(
    sweep: str, case: str, refusal_of: Callable[..., Callable[..., str]]
) -> None:
    arguments, expected = MISTAKES[case]
    assert expected in refusal_of(MAINS[sweep], "--images", "0-7")(*arguments)


def test_a_generators_description_that_cannot_be_is_named(
    refusal_of: Callable[..., Callable[..., str]],
) -> None:
    refusal = refusal_of(generate_all.main, "--classes", "0")
    assert "mean=(0.5,) and std=None" in refusal("--mean", "0.5")
    assert "channels=1: efficientnet_lite0 takes 3" in refusal("--mean", "0.5", "--std", "0.5")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("\ufeffcat\r\n golden retriever \r\n\r\n", ("cat", "golden retriever")),
        ('["cat", "dog"]', ("cat", "dog")),
    ],
)
def test_a_file_of_names_has_one_a_line_or_is_json(text: str, names: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(text.encode())
    assert read_class_names(tmp_path / "names") == names


@pytest.mark.parametrize(
    "content", [b"", b"cat\n\ndog\n", b'["cat", 3]', b'{"0": "cat"}', b"[cat", b"\xff\xfe"]
)
def test_a_file_that_holds_no_names_is_named(content: Any, tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(content)
    with pytest.raises(ValueError, match=r"class_names='.*names'"):
        read_class_names(tmp_path / "names")
