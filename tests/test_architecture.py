"""ARCHITECTURE.md is true: every module stands in its tree, and every path and name that it gives exists."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return ARCHITECTURE.split(f"## {title}\n")[1].split("\n## ")[0]


def paths_of_the_tree() -> list[str]:
    """What the annotated tree names: files, two spaces apart, before a description three spaces away."""
    paths, folder = [], ""
    for line in section("The tree").split("```")[1].strip().splitlines():
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


@pytest.mark.parametrize("package", ["attrib_core", "sweeps", "cluster", "analysis"])
def test_every_module_stands_in_the_tree_or_in_a_folder_of_it(package: str) -> None:
    named = paths_of_the_tree()
    folders = tuple(path for path in named if path.endswith("/") and path != f"{package}/")
    modules = [str(module.relative_to(ROOT)) for module in (ROOT / package).rglob("*.py")]
    missing = [m for m in modules if m not in named and not m.startswith(folders)]
    assert missing == [f"{package}/__init__.py"]


def paths_in_the_text() -> list[str]:
    """Paths in backticks, from the root; those with NAME are of a sweep that is not there yet."""
    found = re.findall(r"`((?:\w+/)+[\w.]*|\w+\.(?:md|toml))`", ARCHITECTURE)
    return sorted(
        {path for path in found if "NAME" not in path and not path.startswith(("results", "images"))}
    )


@pytest.mark.parametrize("path", paths_in_the_text())
def test_every_path_in_the_text_exists(path: str) -> None:
    assert (ROOT / path).exists()


# Names that the walks tell a reader to copy, extend or call, and where they are.
NAMES = {
    "attrib_core.attacks.batch": ["AttackSettings", "Method"],
    "attrib_core.attacks.fast_gradient": ["AlongRay", "max_normed", "sign"],
    "attrib_core.attacks.loss_gradient": ["gradient_at"],
    "attrib_core.attacks.methods": ["METHODS", "attack"],
    "attrib_core.attacks.minimum": ["MinimumAlongRay"],
    "attrib_core.attribution.methods": ["METHODS", "attribute"],
    "attrib_core.attribution.subject": ["Subject"],
    "attrib_core.classifiers.registry": ["Architecture", "register"],
    "attrib_core.classifiers.timm_models": ["FAMILY"],
    "attrib_core.datasets.dataset": ["Dataset"],
    "attrib_core.datasets.registry": ["register"],
    "attrib_core.generation.ascent": ["generate"],
    "attrib_core.generation.modification": ["modify"],
    "attrib_core.generation.recipes": ["RECIPES"],
    "attrib_core.prepared": ["PreparedModel"],
    "sweeps.attack_all": ["AttackOptions"],
    "sweeps.cli": ["SweepOptions"],
    "sweeps.columns": ["name_columns"],
    "sweeps.commit": ["commit_shard"],
    "sweeps.images.actor": ["ImageActor"],
    "sweeps.images.columns": ["image_columns", "shard_columns"],
    "sweeps.images.options": ["ImageOptions"],
    "sweeps.sweep": ["Sweep"],
    "sweeps.schemas.axis_kinds": ["AXIS_KINDS", "AxisKinds"],
    "sweeps.schemas.columns": ["COMMON", "images_schema"],
    "tests.attrib_core.attacks.test_behaviour": ["BOUNDED"],
    "tests.attrib_core.attribution.test_peers": ["test_every_method_is_held_against_an_oracle"],
}


@pytest.mark.parametrize(("module", "names"), NAMES.items())
def test_the_names_of_the_walks_exist(module: str, names: list[str]) -> None:
    for name in names:
        assert re.search(rf"\b{name}\b", ARCHITECTURE), name
    if module.startswith("tests."):
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert all(re.search(rf"^(def )?{name}\b", source, flags=re.MULTILINE) for name in names)
    else:
        assert all(hasattr(importlib.import_module(module), name) for name in names)


def test_a_new_sweep_touches_at_most_six_files() -> None:
    """Each numbered step of the walk begins with the one file that it is about."""
    steps = re.findall(r"^(\d+)\. `([\w/.]+)`:", section("A new sweep"), flags=re.MULTILINE)
    assert [number for number, _ in steps] == [str(number) for number in range(1, len(steps) + 1)]
    assert 5 <= len(steps) <= 6
    assert len({path for _, path in steps}) == len(steps)
