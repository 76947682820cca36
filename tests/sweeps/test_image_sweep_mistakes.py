"""Mistakes in sweeps over images: exit status 2, one line on stderr that names it, and nothing made or lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from sweeps import activations_all, attack_all, attribute_all, modify_all
from sweeps.cli import SweepOptions, parse_options
from sweeps.runner import record
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep


class Script(NamedTuple):
    main: Callable[[list[str]], int]
    options: type[SweepOptions]
    sweep: Callable[[Any], Sweep]


SCRIPTS = {
    "activations": Script(
        activations_all.main, activations_all.ActivationOptions, activations_all.activations_sweep
    ),
    "attack": Script(attack_all.main, attack_all.AttackOptions, attack_all.attack_sweep),
    "attribute": Script(attribute_all.main, attribute_all.AttributeOptions, attribute_all.attribute_sweep),
    "modify": Script(modify_all.main, modify_all.ModifyOptions, modify_all.modify_sweep),
}

MISTAKES: dict[str, dict[str, tuple[list[str], str]]] = {
    "activations": {
        "layer": (["--units", "conv11:0"], "units='conv11:0': no layer 'conv11'; near matches are conv1"),
        "channel": (["--units", "conv1:0,16"], "accepted are channels 0 to 15"),
        "no channels": (["--units", "conv1"], "units='conv1': 'conv1' is no unit of a layer; accepted: LAYER:"),
        "no places": (["--units", "head:0:center"], "it has no places, and so no center"),
        "unit twice": (["--units", "conv1:0,0"], "is listed twice; list each once"),
        "directions": (["--units", "conv1:/nowhere.safetensors"], "'/nowhere.safetensors': no such file"),
        "class": (["--classes", "0,10"], "classes: '10' is past the last, 9"),
        "units and classes": (["--units", "conv1:0", "--classes", "0"], "units='conv1:0' and classes='0'"),
        "top": (["--top", "0"], "top: 0 is not accepted"),
        "image": (["--images", "0-10000"], "images: '0-10000' is past the last, 9999"),
        "data set": (["--dataset", "mnist"], "dataset='mnist': accepted are fashion_mnist"),
        "model": (["--model", "fashion_depp"], "model='fashion_depp': unknown; near matches are fashion_deep"),
        "output": (["--output", "/proc/run"], "/proc/run cannot be written"),
    },
    "attack": {
        "method": (["--methods", "fgsm,fgms"], "methods: unknown name 'fgms'; accepted: names"),
        "negative epsilon": (["--epsilons=-0.1"], "epsilons: '-0.1' is out of range; accepted: numbers"),
        "large epsilon": (["--epsilons", "0.1,8"], "epsilons: '8' is out of range"),
        "epsilon twice": (["--epsilons", "1/255,1/255"], "is listed twice"),
        "no number": (["--epsilons", "1/255,a"], "epsilons: 'a' is not a number"),
        "division by zero": (["--epsilons", "1/0"], "epsilons: '1/0' is not a number"),
        "not a number": (["--epsilons", "nan"], "epsilons: 'nan' is out of range"),
        "empty epsilon": (["--epsilons", "0.1,"], "epsilons: '0.1,' has an empty element"),
        "image": (["--images", "0-10000"], "images: '0-10000' is past the last, 9999"),
        "no images": (["--images", ""], "images: '' has an empty element"),
        "target": (["--targets", "0,10"], "targets: '10' is past the last, 9"),
        "data set": (["--dataset", "mnist"], "dataset='mnist': accepted are fashion_mnist, flowers, imagefolder"),
        "split": (["--split", "validation"], "split='validation'"),
        "data root": (["--data-root", "/nowhere"], "data_root='/nowhere': lacks t10k-images-idx3-ubyte"),
        "no data root": (["--dataset", "imagenet"], "dataset='imagenet': needs a data root"),
        "folder": (["--dataset", "imagefolder:/nowhere"], "/nowhere"),
        "labels": (["--labels", "/nowhere.csv"], "labels='/nowhere.csv': cannot be read"),
        "label order": (["--label-order", "index"], "none of 10 class names, 'T-shirt/top', 'Trouser'"),
        "labels and order": (["--labels", "/nowhere.csv", "--label-order", "index"], "accepted is one of them"),
        "labels of others": (["--model", "efficientnet_lite0"], "fashion_mnist: 9 of 10 class names"),
        "model": (["--model", "fashion_depp"], "model='fashion_depp': unknown; near matches are fashion_deep"),
        "no weights": (["--model", "fashion_alexnet"], "sweeps/train_classifier.py --model fashion_alexnet"),
        "checkpoints": (["--checkpoints", "/nowhere"], "checkpoints: '/nowhere' is no folder with *.safetensors"),
        "untrained twice": (["--weights", "untrained", "--checkpoints", "untrained,trained"],
                            "checkpoints: two are called 'untrained'"),
        "number of steps": (["--num-steps", "0"], "num_steps: 0 is not accepted"),
        "tolerance": (["--tolerance", "2"], "tolerance: 2.0 is not accepted"),
        "backwards": (["--images", "5-3"], "images: the range '5-3' runs backwards"),
        "negative target": (["--targets=-1"], "targets: '-1' is not an integer or a range"),
        "step size": (["--step-size", "0"], "step_size: 0.0 is not accepted"),
        "saved images": (["--save-images", "some"], "save_images: 'some' is not an integer or a range"),
    },
    "attribute": {
        "method": (["--methods", "gradient,oclusion"], "methods: unknown name 'oclusion'; accepted: names"),
        "method twice": (["--methods", "gradient,gradient"], "methods: 'gradient' is listed twice"),
        "target": (["--target", "predicted,truth"], "target: unknown name 'truth'; accepted: names"),
        "image": (["--images", "0-10000"], "images: '0-10000' is past the last, 9999"),
        "window": (["--window-size", "29"], "window_size=29: accepted are 1 to 28 on images of 28 × 28"),
        "no window": (["--window-size", "0"], "window_size=0: accepted are 1 and more"),
        "stride": (["--window-size", "4", "--stride", "5"], "stride=5: pixels between windows"),
        "stride alone": (["--stride", "5"], "stride=5: accepted are 1 to the window's 4"),
        "number of steps": (["--num-steps", "0"], "num_steps=0: accepted are 1 and more"),
        "number of samples": (["--num-samples", "0"], "num_samples=0: accepted are 1 and more"),
        "noise": (["--noise=-1"], "noise=-1.0: accepted are numbers from 0"),
        "saved images": (["--save-images", "some"], "save_images: 'some' is not an integer or a range"),
        "data set": (["--dataset", "mnist"], "dataset='mnist': accepted are fashion_mnist"),
        "model": (["--model", "fashion_depp"], "model='fashion_depp': unknown; near matches are fashion_deep"),
        "output": (["--output", "/proc/run"], "/proc/run cannot be written"),
    },
    "modify": {
        "image": (["--images", "0-10000"], "images: '0-10000' is past the last, 9999"),
        "target": (["--targets", "0,10"], "targets: '10' is past the last, 9"),
        "no targets": (["--targets", "none"], "targets: 'none' is not an integer or a range"),
        "number of steps": (["--num-steps", "0"], "num_steps: 0 is not accepted"),
        "step size": (["--step-size", "0"], "step_size: 0.0 is not accepted"),
        "large step size": (["--step-size", "2"], "step_size: 2.0 is not accepted"),
        "saved images": (["--save-images", "some"], "save_images: 'some' is not an integer or a range"),
        "data set": (["--dataset", "mnist"], "dataset='mnist': accepted are fashion_mnist"),
        "model": (["--model", "fashion_depp"], "model='fashion_depp': unknown; near matches are fashion_deep"),
        "output": (["--output", "/proc/run"], "/proc/run cannot be written"),
    },
}  # fmt: skip

# What a directory was made with, another command on it, and what is wrong with that.
OTHERWISE: dict[str, dict[str, tuple[list[str], list[str], str]]] = {
    "activations": {
        "top": (["--top", "3"], [], "top: the directory was made with 3, this command asks for 9"),
        "classes": (["--classes", "0"], ["--units", "conv1:0"], "is of classes; accepted is --classes, or"),
        "weights": (
            ["--weights", "untrained"],
            [],
            "weights: its definition has changed since the directory was made",
        ),
        "a layer that an earlier command named": (
            ["--units", "conv1:0,conv2:0"],
            ["--units", "conv1:0"],
            "units: the directory's shards also hold 'conv2:0', which an earlier command asked for",
        ),
    },
    "attack": {
        "split": (
            ["--split", "train"],
            [],
            "split: the directory was made with 'train', this command asks for 'test'",
        ),
        "clip": (["--no-clip"], [], "clip: the directory was made with False, this command asks for True"),
        "precision": (["--precision", "mixed"], [], "precision: the directory was made with 'mixed'"),
        "seed": (["--seed", "1"], [], "seed: the directory was made with 1, this command asks for 0"),
        "model": (
            ["--weights", "untrained"],
            ["--model", "efficientnet_lite0", "--label-order", "sorted"],
            "model: the directory was made with",
        ),
        "method": (
            ["--methods", "bim"],
            ["--methods", "bim", "--num-steps", "40"],
            "method bim: its definition",
        ),
        "tolerance": (
            ["--methods", "minimum_fgsm"],
            ["--methods", "all", "--tolerance", "0.1"],
            "method minimum_fgsm: its",
        ),
    },
    "attribute": {
        "window": (
            ["--window-size", "6"],
            [],
            "method occlusion: its definition has changed since the directory was made",
        ),
        "steps": (["--num-steps", "20"], [], "method integrated_gradients: its definition has changed"),
        "baseline": (
            ["--baseline", "blurred"],
            [],
            "method integrated_gradients: its definition has changed",
        ),
        "seed": (["--seed", "1"], [], "seed: the directory was made with 1, this command asks for 0"),
        "split": (
            ["--split", "train"],
            [],
            "split: the directory was made with 'train', this command asks for 'test'",
        ),
        "weights": (
            ["--weights", "untrained"],
            [],
            "weights: its definition has changed since the directory was made",
        ),
    },
    "modify": {
        "steps": (
            ["--num-steps", "40"],
            [],
            "num_steps: the directory was made with 40, this command asks for 30",
        ),
        "step size": (
            ["--step-size", "0.02"],
            [],
            "step_size: the directory was made with 0.02, this command asks for 0.01",
        ),
        "clip": (["--no-clip"], [], "clip: the directory was made with False, this command asks for True"),
        "precision": (["--precision", "bfloat16"], [], "precision: the directory was made with 'bfloat16'"),
        "weights": (
            ["--weights", "untrained"],
            [],
            "weights: its definition has changed since the directory was made",
        ),
    },
}


def cases(table: dict[str, dict[str, Any]]) -> Any:
    """Return a test's parameters for each sweep and each of its cases."""
    pairs = [(sweep, case) for sweep, of_sweep in table.items() for case in of_sweep]
    return pytest.mark.parametrize(("sweep", "case"), pairs, ids=[f"{sweep}-{case}" for sweep, case in pairs])


@pytest.fixture
def refusal(refusal_of) -> Callable[..., str]:
    """The line with which a sweep refuses arguments."""
    return lambda sweep, *arguments: refusal_of(SCRIPTS[sweep].main, "--images", "0-7")(*arguments)


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., None]:
    """Makes tmp_path/run a directory that a sweep was asked for."""

    def write(sweep: str, *arguments: str) -> None:
        _, kind, sweep_of = SCRIPTS[sweep]
        options = parse_options(kind, ["--output", str(tmp_path / "run"), "--images", "0-7", *arguments])
        record(RunDirectory(options.output), sweep_of(options), 8)

    return write


@cases(MISTAKES)
def test_a_value_that_cannot_be_is_named_with_what_could_be(sweep, case, refusal) -> None:
    arguments, expected = MISTAKES[sweep][case]
    assert expected in refusal(sweep, *arguments)


@cases(OTHERWISE)
def test_a_directory_that_was_made_otherwise(sweep, case, recorded, refusal) -> None:
    before, now, expected = OTHERWISE[sweep][case]
    recorded(sweep, *before)
    assert expected in refusal(sweep, *now)


@pytest.mark.parametrize("sweep", SCRIPTS)
def test_a_corrupt_weights_file(sweep, refusal, truncated_weights) -> None:
    assert f"weights='{truncated_weights}': truncated" in refusal(sweep, "--weights", str(truncated_weights))


def test_a_baseline_that_is_none_ends_with_status_2(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        attribute_all.main(["--baseline", "white", "--output", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert "blurred" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_shards_that_no_actor_could_hold(tmp_path, capsys) -> None:
    """2,000 photographs of 224 × 224 × 3 under eleven methods."""
    folder = tmp_path / "photos" / "n01440764"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "0.png")
    for index in range(1, 2000):
        (folder / f"{index}.png").hardlink_to(folder / "0.png")
    options = ["--model", "efficientnet_lite0", "--dataset", f"imagefolder:{folder.parent}"]
    asked = [*options, "--methods", "all", "--target", "loss", "--output", str(tmp_path / "run")]
    assert attribute_all.main([*asked, "--shard-size", "4000"]) == 2
    said = capsys.readouterr().err
    assert "shard_size=2000: its attributions are 6.6 GB" in said
    assert "accepted are up to 603 images, or fewer methods" in said
    assert not (tmp_path / "run").exists()


def test_another_window_is_welcome_where_nothing_was_occluded(recorded, tmp_path, capsys) -> None:
    recorded("attribute", "--methods", "gradient")
    given = ["--output", str(tmp_path / "run"), "--images", "0-7", "--methods", "occlusion"]
    assert attribute_all.main([*given, "--window-size", "7", "--batch-size", "4", "--plan"]) == 0
    assert "shards: 1, of which 1 remain" in capsys.readouterr().out


def test_other_steps_are_welcome_where_no_iterated_attack_was_made(recorded, tmp_path, capsys) -> None:
    recorded("attack", "--methods", "fgsm")
    given = ["--output", str(tmp_path / "run"), "--images", "0-7", "--methods", "bim", "--num-steps", "40"]
    assert attack_all.main([*given, "--epsilons", "0.1", "--batch-size", "4", "--plan"]) == 0
    assert "shards: 1, of which 1 remain" in capsys.readouterr().out
