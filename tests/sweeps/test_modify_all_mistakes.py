"""A user's mistake: exit status 2, one line on stderr that names it, and nothing made or lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.cli import parse_options
from sweeps.modify_all import ModifyOptions, main, modify_sweep
from sweeps.runner import record
from sweeps.store import RunDirectory


@pytest.fixture
def refusal(refusal_of) -> Callable[..., str]:
    return refusal_of(main, "--images", "0-7")


MISTAKES = {
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
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_value_that_cannot_be_is_named_with_what_could_be(case, refusal) -> None:
    arguments, expected = MISTAKES[case]
    assert expected in refusal(*arguments)


def test_a_corrupt_weights_file(refusal, truncated_weights) -> None:
    assert f"weights='{truncated_weights}': truncated" in refusal("--weights", str(truncated_weights))


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., None]:
    """Makes tmp_path/run a directory that was asked for something."""

    def write(*arguments: str) -> None:
        options = parse_options(
            ModifyOptions, ["--output", str(tmp_path / "run"), "--images", "0-7", *arguments]
        )
        record(RunDirectory(options.output), modify_sweep(options), 8)

    return write


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (["--num-steps", "40"], "num_steps: the directory was made with 40, this command asks for 30"),
        (["--step-size", "0.02"], "step_size: the directory was made with 0.02, this command asks for 0.01"),
        (["--no-clip"], "clip: the directory was made with False, this command asks for True"),
        (["--precision", "bfloat16"], "precision: the directory was made with 'bfloat16'"),
        (["--weights", "untrained"], "weights: its definition has changed since the directory was made"),
    ],
    ids=["steps", "step size", "clip", "precision", "weights"],
)
def test_a_directory_that_was_made_otherwise(before, expected, recorded, refusal) -> None:
    recorded(*before)
    assert expected in refusal()
