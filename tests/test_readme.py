"""The README is true: its files exist, its options are real, its columns are the schema's."""

import re
from pathlib import Path

import pytest

from sweeps.attack_all import AttackOptions
from sweeps.attribute_all import AttributeOptions
from sweeps.attribute_training import AttributeTrainingOptions
from sweeps.generate_all import GenerateOptions
from sweeps.modify_all import ModifyOptions
from sweeps.schemas import (
    attack_results,
    attribute_results,
    generate_results,
    modify_results,
    training_results,
)
from sweeps.train_classifier import TrainOptions

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def paths_of_the_tree() -> list[str]:
    """What the annotated tree names: files, two spaces apart, before a description three spaces away."""
    paths, folder = [], ""
    for line in README.split("## The house")[1].split("```")[1].strip().splitlines():
        names = re.split(" {3,}", line.strip())[0].split()
        if line.startswith(" "):
            paths += [folder + name for name in names]
        else:
            folder = names[0]
            paths += names
    return paths


@pytest.mark.parametrize("path", paths_of_the_tree())
def test_every_path_of_the_tree_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("package", ["attrib_core", "sweeps", "cluster"])
def test_every_module_stands_in_the_tree_or_in_a_folder_of_it(package: str) -> None:
    named = paths_of_the_tree()
    folders = tuple(path for path in named if path.endswith("/") and path != f"{package}/")
    modules = [str(module.relative_to(ROOT)) for module in (ROOT / package).rglob("*.py")]
    missing = [m for m in modules if m not in named and not m.startswith(folders)]
    assert missing == [f"{package}/__init__.py"]


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("generate_all", GenerateOptions),
        ("attack_all", AttackOptions),
        ("train_classifier", TrainOptions),
        ("attribute_all", AttributeOptions),
        ("attribute_training", AttributeTrainingOptions),
        ("modify_all", ModifyOptions),
    ],
)
def test_the_options_of_the_examples_exist(script, options) -> None:
    commands = re.findall(rf"python sweeps/{script}\.py (.*)", README)
    assert commands
    for command in commands:
        for option in re.findall(r"--([a-z-]+)", command):
            assert option.replace("-", "_") in options.model_fields


def columns_of_the_table(header: str) -> set[str]:
    table = README.split(f"| {header} |")[1].split("\n\n")[0]
    return set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines()[2:])))


@pytest.mark.parametrize(
    ("header", "schema"),
    [
        ("column of a generated image", generate_results(["judge"])),
        ("column of an attack", attack_results()),
        ("column of an attribution", attribute_results((1, 28, 28))),
        ("column of an attribution along training", training_results((1, 28, 28))),
        ("column of a modified image", modify_results()),
    ],
)
def test_the_column_tables_name_the_schemas_columns(header, schema) -> None:
    assert columns_of_the_table("column of results/") | columns_of_the_table(header) == set(schema.names)


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", README, flags=re.MULTILINE):
        name = target[0] or target[1]
        assert f"\n{name}:" in makefile, name
