"""A user's mistake: exit status 2, one line on stderr that names it, and nothing made or lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sweeps.attribute_all import AttributeOptions, attribute_sweep, main
from sweeps.cli import parse_options
from sweeps.runner import record
from sweeps.store import RunDirectory


@pytest.fixture
def refusal(refusal_of) -> Callable[..., str]:
    return refusal_of(main, "--images", "0-7")


MISTAKES = {
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
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_value_that_cannot_be_is_named_with_what_could_be(case, refusal) -> None:
    arguments, expected = MISTAKES[case]
    assert expected in refusal(*arguments)


def test_a_baseline_that_is_none_ends_with_status_2(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--baseline", "white", "--output", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert "blurred" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_shards_that_no_actor_could_hold(tmp_path, capsys) -> None:
    """2,000 photographs of 224 × 224 × 3 under nine methods."""
    folder = tmp_path / "photos" / "n01440764"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "0.png")
    for index in range(1, 2000):
        (folder / f"{index}.png").hardlink_to(folder / "0.png")
    options = ["--model", "efficientnet_lite0", "--dataset", f"imagefolder:{folder.parent}"]
    asked = [*options, "--methods", "all", "--target", "loss", "--output", str(tmp_path / "run")]
    assert main([*asked, "--shard-size", "4000"]) == 2
    said = capsys.readouterr().err
    assert "shard_size=2000: its attributions are 5.4 GB" in said
    assert "accepted are up to 738 images, or fewer methods" in said
    assert not (tmp_path / "run").exists()


def test_a_corrupt_weights_file(refusal, truncated_weights) -> None:
    assert f"weights='{truncated_weights}': truncated" in refusal("--weights", str(truncated_weights))


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., None]:
    """Makes tmp_path/run a directory that was asked for something."""

    def write(*arguments: str) -> None:
        options = parse_options(
            AttributeOptions, ["--output", str(tmp_path / "run"), "--images", "0-7", *arguments]
        )
        record(RunDirectory(options.output), attribute_sweep(options), 8)

    return write


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (["--window-size", "6"], "method occlusion: its definition has changed since the directory was made"),
        (["--num-steps", "20"], "method integrated_gradients: its definition has changed"),
        (["--baseline", "blurred"], "method integrated_gradients: its definition has changed"),
        (["--seed", "1"], "seed: the directory was made with 1, this command asks for 0"),
        (["--split", "train"], "split: the directory was made with 'train', this command asks for 'test'"),
        (["--weights", "untrained"], "weights: its definition has changed since the directory was made"),
    ],
    ids=["window", "steps", "baseline", "seed", "split", "weights"],
)
def test_a_directory_that_was_made_otherwise(before, expected, recorded, refusal) -> None:
    recorded(*before)
    assert expected in refusal()


def test_another_window_is_welcome_where_nothing_was_occluded(recorded, tmp_path, capsys) -> None:
    recorded("--methods", "gradient")
    given = ["--output", str(tmp_path / "run"), "--images", "0-7", "--methods", "occlusion"]
    assert main([*given, "--window-size", "7", "--plan"]) == 0
    assert "shards: 1, of which 1 remain" in capsys.readouterr().out
