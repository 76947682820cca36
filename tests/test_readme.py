"""The README and the pages it leads to are true: files, links, options, commands, columns and the code exist."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from attrib_sweeps.commands import COMMANDS
from torch import Tensor, nn

from sweeps.activations_all import ActivationOptions
from sweeps.attack_all import AttackOptions
from sweeps.attribute_all import AttributeOptions
from sweeps.attribute_training import AttributeTrainingOptions
from sweeps.generate_all import GenerateOptions
from sweeps.modify_all import ModifyOptions
from sweeps.schemas import (
    activations_images,
    activations_results,
    attack_images,
    attack_results,
    attack_victims,
    attribute_images,
    attribute_results,
    generate_images,
    generate_results,
    modify_images,
    modify_results,
    training_images,
    training_results,
    tune_results,
    unit_images,
    unit_results,
)
from sweeps.train_classifier import TrainOptions
from sweeps.tune_recipe import TuneOptions

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCHEMAS = (ROOT / "sweeps" / "schemas" / "README.md").read_text(encoding="utf-8")
PAGES = {
    path: (ROOT / path).read_text(encoding="utf-8")
    for path in (
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "analysis/README.md",
        "benchmarks/README.md",
        "cluster/README.md",
        "docs/gpu.md",
        "docs/pictures.md",
        "docs/attribution.md",
        "docs/robustness.md",
        "docs/sweeps.md",
        "docs/resume-and-grow.md",
        "docs/tutorial.md",
        "docs/explanation/tapes.md",
        "docs/explanation/determinism.md",
        "docs/explanation/exactly-once.md",
        "docs/explanation/judges.md",
        "docs/index.md",
        "docs/install.md",
        "docs/your-own.md",
        "sweeps/schemas/README.md",
    )
}
ALL = "\n".join(PAGES.values())


def test_the_readme_is_a_front_door() -> None:
    assert len(README.splitlines()) <= 130


def test_the_three_pictures_are_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\((docs/[\w-]+\.png)\)", README)
    assert len(pictures) == 3
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 150_000


def test_the_scripts_of_the_table_are_the_scripts_that_there_are() -> None:
    named = re.findall(r"^\| `(sweeps/\w+\.py)` \|", README, re.MULTILINE)
    scripts = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "sweeps").glob("*.py")
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    ]
    assert sorted(named) == sorted(scripts)


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("generate_all", GenerateOptions),
        ("attack_all", AttackOptions),
        ("train_classifier", TrainOptions),
        ("attribute_all", AttributeOptions),
        ("attribute_training", AttributeTrainingOptions),
        ("modify_all", ModifyOptions),
        ("activations_all", ActivationOptions),
        ("tune_recipe", TuneOptions),
    ],
)
def test_the_options_of_the_examples_exist(script, options) -> None:
    assert re.search(rf"python sweeps/{script}\.py ", README)
    commands = re.findall(rf"(?:python |CONFIG |yaml )sweeps/{script}\.py (.*)", ALL)
    commands += re.findall(rf"python -m sweeps\.{script} (.*)", ALL)
    (name,) = (name for name, each in COMMANDS.items() if each.module == f"sweeps.{script}")
    commands += re.findall(rf"attrib-sweeps {name} (.*)", ALL)
    for command in commands:
        for option in re.findall(r"--([a-z-]+)", command.partition("#")[0].partition("`")[0]):
            assert option.replace("-", "_") in options.model_fields


def modules_of_the_commands() -> list[str]:
    """Return modules after `python -m`, and of the table of sweeps, where `.name` is in the folder before it."""
    found = set(re.findall(r"python -m ((?:analysis|sweeps)(?:\.\w+)+)", ALL))
    for row in re.findall(r"^\| `sweeps/.*", README, re.MULTILINE):
        folder = ""
        for name in re.findall(r"`(analysis(?:\.\w+)+|\.\w+)`", row):
            if not name.startswith("."):
                folder = name.rpartition(".")[0]
            found.add(folder + name if name.startswith(".") else name)
    return sorted(found)


@pytest.mark.parametrize("module", modules_of_the_commands())
def test_the_modules_of_the_commands_can_be_run(module: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    if spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{module}.__main__")
        assert spec is not None
        assert spec.origin is not None
    assert 'if __name__ == "__main__":' in Path(spec.origin).read_text(encoding="utf-8")


def test_the_commands_that_moved_are_where_the_changelog_says() -> None:
    moved = re.findall(r"^  \| `([\w.]+)` \| `([\w.]+)` \|", PAGES["CHANGELOG.md"], re.MULTILINE)
    assert len(moved) == 14
    for before, now in moved:
        assert importlib.util.find_spec(before) is None
        assert importlib.util.find_spec(now) is not None


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", ALL, flags=re.MULTILINE)
    assert ("demo", "") in targets
    for target in targets:
        name = target[0] or target[1]
        assert f"\n{name}:" in makefile, name


class SmallNetwork(nn.Module):
    """What a reader of the README has: a network of three channels and ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.head = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).flatten(1))
        return logits


def test_the_python_with_ones_own_network_runs_as_it_is_written() -> None:
    block = README.split("## With your own network")[1].split("```python\n")[1].split("```")[0]
    assert len([line for line in block.splitlines() if line]) <= 12
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SmallNetwork()
    images = torch.rand(4, 3, 32, 32, generator=generator)
    found = {"net": net, "images": images, "labels": torch.tensor([0, 1, 2, 3])}
    exec(compile(block, "README.md", "exec"), found)
    assert found["fooled"].shape == (4, 2)
    assert found["result"].adversarial_images.shape == (4, 2, 3, 32, 32)
    assert found["heat"].shape == (4, 3, 32, 32)
    assert found["pictures"].shape == (2, 3, 32, 32)
    assert 0 <= found["pictures"].min() <= found["pictures"].max() <= 1


def columns_of_the_table(header: str) -> set[str]:
    table = SCHEMAS.split(f"| {header} |")[1].split("\n\n")[0]
    return set(re.findall(r"`([\w.]+)`", " ".join(line.split("|")[1] for line in table.splitlines()[2:])))


GENERATED = columns_of_the_table("column of a generated image")


@pytest.mark.parametrize(
    ("header", "schema", "above"),
    [
        ("column of a generated image", generate_results(["judge"]), set()),
        ("column of an attack", attack_results(["NAME"]), set()),
        ("column of victims/", attack_victims(), set()),
        ("column of an attribution", attribute_results((1, 28, 28)), set()),
        ("column of an attribution along training", training_results((1, 28, 28)), set()),
        ("column of a modified image", modify_results(), set()),
        ("column of a strongest image", activations_results(), set()),
        ("column of a recipe search", tune_results(["judge"]), GENERATED),
        ("column of an image of a unit", unit_results(), set()),
    ],
)
def test_the_column_tables_name_the_schemas_columns(header, schema, above) -> None:
    common = columns_of_the_table("column of results/")
    if "image_key" not in schema.names:  # a table beside results/, whose rows name no images
        common -= {"image_key", "image_file"}
    assert common | columns_of_the_table(header) | above == set(schema.names)


@pytest.mark.parametrize(
    ("header", "schema"),
    [
        ("column of images/ of an attack", attack_images()),
        ("column of images/ of a generation", generate_images(10)),
        ("column of images/ of a unit", unit_images()),
        ("column of images/ of an attribution", attribute_images()),
        ("column of images/ of a training", training_images()),
        ("column of images/ of a modification", modify_images()),
        ("column of images/ of strongest images", activations_images()),
    ],
)
def test_the_column_tables_of_images_name_the_schemas_columns(header, schema) -> None:
    assert columns_of_the_table("column of images/") | columns_of_the_table(header) == set(schema.names)


def test_the_console_commands_exist() -> None:
    named = set(re.findall(r"(?:^|`)attrib-sweeps ([a-z][a-z-]*)", ALL, re.MULTILINE))
    assert len(named) > 15
    assert named <= {*COMMANDS, "completion"}
