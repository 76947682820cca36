"""A user's mistake: exit status 2, one message on stderr that names it, and nothing made or lost."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from attrib_core.generation import RECIPES
from sweeps.cli import parse_options
from sweeps.generate_all import GenerateOptions, generation_sweep, main
from sweeps.runner import record
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The message with which arguments are refused; what lay in the folder of the output lies there still."""

    def run(*arguments: str) -> str:
        before = tree(tmp_path)
        given = ["--output", str(tmp_path / "run"), "--classes", "0-2", "--judges", "none", *arguments]
        try:
            status = main(given)
        except SystemExit as exit_:  # tyro ends the process itself
            status = exit_.code
        printed = capsys.readouterr()
        assert status == 2
        assert printed.out == ""
        assert "Traceback" not in printed.err
        assert tree(tmp_path) == before
        return printed.err

    return run


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def one_line(message: str) -> bool:
    return message.startswith("error: ") and message.count("\n") == 1


MISTAKES = {
    "model": (["--model", "lite9"], "model='lite9'"),
    "class": (["--classes", "0-1000"], "classes: '0-1000' is past the last, 999"),
    "class list": (["--classes", "1,,2"], "classes: '1,,2' has an empty element"),
    "seeds": (["--seeds", "a"], "seeds: 'a' is not an integer or a range"),
    "recipe": (["--recipes", "fast,blurr"], "recipes: unknown name 'blurr'; accepted: names"),
    "recipe file": (["--recipes", "/nowhere/recipe.yaml"], "/nowhere"),
    "judge": (["--judges", "lite9"], "judges: model='lite9'"),
    "own judge": (["--judges", "efficientnet_lite0"], "judges: 'efficientnet_lite0' makes the images"),
    "judge of other classes": (
        ["--judges", "fashion_deep"],
        "judges: 'fashion_deep' has 10 classes, the model 'efficientnet_lite0' 1000; accepted are judges of the",
    ),
    "frames": (["--frames", "2,1000"], "frames: '1000' is past the last, 999"),
    "workers": (["--num-workers", "0"], "num_workers: 0 is not accepted"),
    "image size": (["--image-size", "8"], "image_size: 8 is not accepted"),
    "scheme": (["--output", "ftp://host/run"], "'ftp://host/run' is not accepted; accepted: a path or s3://"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_value_that_cannot_be_is_named_with_what_could_be(case, refusal) -> None:
    arguments, expected = MISTAKES[case]
    message = refusal(*arguments)
    assert one_line(message), message
    assert expected in message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--recipe", "fast"], "--recipes"),
        (["--num-steps", "x"], "--num-steps"),
        (["--precision", "float8"], "float8"),
        (["--config"], "--config"),
    ],
)
def test_an_unknown_option_or_a_word_for_a_number_is_named(arguments, named, refusal) -> None:
    assert named in refusal(*arguments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recipe: fast", "unknown option 'recipe' in the YAML file"),
        ("num_steps: many", "num_steps: 'many' is not accepted"),
        ("- fast", "holds a list; accepted: `option: value` lines"),
        ("classes: [0, 1", "is not YAML"),
        ("\x00", "is not YAML"),
        (None, "No such file"),
    ],
)
def test_a_mistake_in_the_configuration_file_is_named(text, expected, refusal, tmp_path) -> None:
    file = tmp_path / "config.yaml"
    if text is not None:
        file.write_text(text)
    message = refusal("--config", str(file))
    assert message.startswith("error: ")
    assert expected in message


def test_a_configuration_file_takes_the_options_names_and_the_command_line_wins(tmp_path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("classes: [0, 5-7]\nseeds: 3\nnum-steps: 8\nimage_size: 96\nframes: 5\njudges: [a, b]\n")
    options = parse_options(GenerateOptions, ["--config", str(file), "--image-size", "64"])
    assert (options.classes, options.seeds, options.frames, options.judges) == ("0,5-7", "3", "5", "a,b")
    assert (options.num_steps, options.image_size) == (8, 64)


class Payload:
    """Runs a command as it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.file}",)


def truncated(file: Path, _tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, file)
    file.write_bytes(file.read_bytes()[:1500])


def another_architecture(file: Path, _tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, file)


def pickle_with_code(file: Path, tmp_path: Path) -> None:
    file.write_bytes(pickle.dumps({"weight": Payload(tmp_path / "ran")}))


def archive_with_code(file: Path, tmp_path: Path) -> None:
    torch.save({"weight": Payload(tmp_path / "ran")}, file)


def missing(_file: Path, _tmp_path: Path) -> None:
    pass


@pytest.mark.parametrize(
    "make",
    [missing, truncated, another_architecture, pickle_with_code, archive_with_code],
    ids=lambda m: m.__name__,
)
def test_weights_that_cannot_be_loaded_are_refused_and_their_code_does_not_run(
    make, refusal, tmp_path
) -> None:
    file = tmp_path / "weights.pth"
    make(file, tmp_path)
    message = refusal("--weights", str(file))
    assert message.startswith("error: ")
    assert str(file) in message
    assert not (tmp_path / "ran").exists()


def test_a_model_of_other_classes_than_imagenets_has_no_judges_unless_they_are_given() -> None:
    judges = {
        model: list(generation_sweep(GenerateOptions(model=model)).settings["judges"])
        for model in ("efficientnet_lite0", "efficientnet_lite1", "fashion_deep")
    }
    assert judges == {
        "efficientnet_lite0": ["efficientnet_lite1", "efficientnet_lite2"],
        "efficientnet_lite1": ["efficientnet_lite2"],
        "fashion_deep": [],
    }


@dataclass(frozen=True)
class Failing:
    """A prior that fails as torch does where a kernel is larger than the image."""

    def __call__(self, images: object, randomness: object, moment: object) -> None:
        raise RuntimeError("Padding size should be less than the corresponding input dimension\nmore")


def test_a_recipe_that_cannot_work_is_refused_before_anything_starts(refusal, monkeypatch) -> None:
    stage = replace(RECIPES["blur"].stages[0], priors=(Failing(),))
    monkeypatch.setitem(RECIPES, "blur", replace(RECIPES["blur"], stages=(stage,)))
    for more in ([], ["--plan"]):
        message = refusal("--model", "fashion_deep", "--recipes", "small,blur", *more)
        assert message == (
            "error: recipes: 'blur' fails at image_size=28 on 'fashion_deep'; accepted are recipes and sizes of "
            "which one step works (RuntimeError: Padding size should be less than the corresponding input "
            "dimension)\n"
        )


def test_one_step_of_every_recipe_works_on_grey_images() -> None:
    sweep = generation_sweep(GenerateOptions(model="fashion_deep", recipes="all", frames="0"))
    assert sweep.check is not None
    sweep.check()


@pytest.fixture(scope="module")
def asked() -> Sweep:
    return generation_sweep(GenerateOptions(image_size=64, recipes="fast", judges="none"))


@pytest.fixture
def recorded_run(asked: Sweep, tmp_path: Path) -> Path:
    """A run directory that was asked for something and has no results yet."""
    record(RunDirectory(tmp_path / "run"), asked, 16)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--image-size", "96"], "image_size: the directory was made with 64, this command asks for 96"),
        (["--num-steps", "4"], "num_steps: "),
        (["--seed", "1"], "seed: the directory was made with 0, this command asks for 1"),
        (["--judges", "efficientnet_lite1"], "judges: "),
        (["--frames", "0"], "frames: "),
        (["--model", "efficientnet_lite1"], "model: "),
    ],
)
def test_a_directory_of_another_sweep_is_refused_and_the_field_named(
    arguments, field, recorded_run, refusal
) -> None:
    message = refusal("--image-size", "64", "--recipes", "fast", *arguments)
    assert one_line(message), message
    assert message.startswith(f"error: {field}")


def test_a_directory_of_another_kind_of_sweep_or_with_a_broken_record_is_refused(
    recorded_run, refusal
) -> None:
    record_file = recorded_run / "sweep.json"
    text = record_file.read_text()
    record_file.write_text(text.replace('"generate"', '"attack"'))
    assert "holds a sweep of kind 'attack', not 'generate'" in refusal("--image-size", "64")
    record_file.write_text(text[:100])
    assert "sweep.json is no JSON object" in refusal("--image-size", "64")


def test_an_output_below_a_file_is_refused(refusal, tmp_path) -> None:
    (tmp_path / "file").write_text("of the user")
    assert "a part of the path is a file" in refusal("--output", str(tmp_path / "file" / "run"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("only root may mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_refused(refusal, tiny_disk) -> None:
    assert "no space is left on the device" in refusal("--output", str(tiny_disk / "run"))


def test_a_missing_bucket_is_refused(refusal, s3_url) -> None:
    message = refusal("--output", f"{s3_url}-missing/run")
    assert one_line(message), message
    assert "the bucket does not exist" in message


def test_a_ray_address_that_does_not_answer_is_refused_soon(tmp_path) -> None:
    command = [
        sys.executable,
        "sweeps/generate_all.py",
        "--output",
        str(tmp_path / "run"),
        *("--model", "fashion_deep", "--classes", "0", "--judges", "none"),
    ]
    result = subprocess.run(
        [*command, "--address", "127.0.0.1:1"], cwd=REPOSITORY, capture_output=True, text=True, timeout=180
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert one_line(result.stderr), result.stderr
    assert "no Ray cluster answers at '127.0.0.1:1'" in result.stderr
    assert list(tmp_path.iterdir()) == []
