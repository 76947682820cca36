"""docs/your-own.md is true: its files are written, and its commands typed, one after the other."""

import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from attrib_sweeps.commands import COMMANDS

from attrib_core.user_code import forget

PAGE = (Path(__file__).parents[2] / "docs" / "your-own.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))
TYPED = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.strip().splitlines()
]
# What the page leaves to the defaults, made small.
SMALLER = {
    "train_classifier": ["--epochs", "1"],
    "attribute_training": ["--panel", "0-3"],
    "generate_all": ["--judges", "none"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_fashion_mnist: Callable[..., Path]) -> Path:
    """The page's files, and the first images of Fashion-MNIST, also where torchvision looks for them."""
    folder = tmp_path_factory.mktemp("page")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    raw = folder / "DATA" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    write_fashion_mnist(raw, num_train=320, num_test=256)
    return folder


def test_the_page_has_a_file_of_each_kind() -> None:
    assert list(FILES) == ["net.py", "data.py", "momentum.py", "centred.py", "flat.py"]
    assert len(TYPED) == 10


def slow(command: str) -> list[pytest.MarkDecorator]:
    """Return the mark of a command that generates images or records a training: those take a minute."""
    return [pytest.mark.long] if " generate " in command or " attribute-training " in command else []


@pytest.mark.parametrize("command", [pytest.param(each, marks=slow(each)) for each in TYPED])
def test_a_command_of_the_page_works(
    command: str, folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(folder)
    forget()
    _, *words = shlex.split(command)
    module = COMMANDS[words[0]].module
    if module.startswith("analysis."):
        importlib.import_module(module).main(words[1:])
        return
    name = module.removeprefix("sweeps.")
    # A training is recorded by Ray Tune, which has no stand-in.
    request.getfixturevalue("local_cluster" if name == "attribute_training" else "in_this_process")
    added = SMALLER.get(name, []) + (
        [] if name == "generate_all" else ["--data-root", "DATA/FashionMNIST/raw"]
    )
    if "data.py" in command:
        added = []
    if name != "train_classifier":
        added += ["--num-workers", "1"]
    status = importlib.import_module(module).main([*words[1:], *added])
    assert status == 0, capsys.readouterr().err


def test_the_runs_hold_what_the_page_says(folder: Path) -> None:
    attacks = pd.read_parquet(folder / "runs" / "attacks" / "results")
    assert set(attacks["method"]) == {
        "fgsm",
        "pgd:num_steps=40",
        "momentum.py:attack:steps=5",
        "foolbox:L2DeepFoolAttack",
    }
    by_method = attacks.groupby("method")["num_backwards"].max()
    assert by_method["momentum.py:attack:steps=5"] == 5
    assert len(pd.read_parquet(folder / "runs" / "odd" / "results")["image_index"].unique()) == 100


@pytest.mark.long
def test_images_are_of_the_recipes_that_the_page_names(folder: Path) -> None:
    images = pd.read_parquet(folder / "runs" / "own" / "results").set_index("recipe")
    assert images.loc["flat.py:flat:num_steps=8", "num_steps"] == 8
    assert images.loc["default:num_steps=16", "num_steps"] == 16
