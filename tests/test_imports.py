"""The import directions of the packages: what each may know of the others."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("attrib_core", "sweeps", "cluster", "analysis")

# What a package may import from its siblings: these modules and whatever is below them.
ALLOWED = {
    "attrib_core": (),
    "cluster": (),
    "sweeps": ("attrib_core", "cluster"),
    "analysis": ("sweeps.schemas", "sweeps.store"),
}
# Third parties that a package must know nothing of.
FORBIDDEN = {
    "attrib_core": {"ray"},
    "cluster": set(),
    "sweeps": set(),
    "analysis": {"torch", "torchvision", "timm", "ray"},
}


def imported_modules(file: Path) -> Iterator[str]:
    """Full names of all modules that a file imports; `from package import name` counts as package.name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_below(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_the_siblings_it_may_know(package: str) -> None:
    siblings = tuple(sibling for sibling in PACKAGES if sibling != package)
    wrong = [
        (str(file.relative_to(ROOT)), module)
        for file in sorted((ROOT / package).rglob("*.py"))
        # The public package stands before all four; it imports when a name or a command is used.
        if not file.is_relative_to(ROOT / "sweeps" / "package")
        for module in imported_modules(file)
        if (is_below(module, siblings) and not is_below(module, ALLOWED[package]))
        or module.split(".")[0] in FORBIDDEN[package]
    ]
    assert wrong == []


def test_the_schemas_import_pyarrow_and_the_standard_library_alone() -> None:
    files = (ROOT / "sweeps" / "schemas").glob("*.py")
    modules = {module for file in files for module in imported_modules(file)}
    others = {module.split(".")[0] for module in modules if not module.startswith("sweeps.schemas.")}
    assert others - set(sys.stdlib_module_names) == {"pyarrow"}


def test_importing_the_analysis_loads_neither_torch_nor_ray() -> None:
    code = """
import importlib, pkgutil, sys
import analysis
for module in pkgutil.walk_packages(analysis.__path__, "analysis."):
    importlib.import_module(module.name)
print(sorted({"torch", "ray", "attrib_core", "cluster"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


QUESTIONS = ("attacks", "attribution", "generation", "modification", "training", "units")

# What each folder of the analysis may import of the other folders; `analysis/__init__.py` says why.
ALLOWED_IN_ANALYSIS = {
    "drawing": (),
    "html": ("drawing",),
    **dict.fromkeys(QUESTIONS, ("drawing", "html")),
    "training": ("drawing", "html", "attribution"),
    "units": ("drawing", "html"),
    "generation": ("drawing", "html", "units"),  # natural images beside those of classes
    "blind": ("drawing", "generation"),
    "claims": QUESTIONS,
    "serve": ("html", "attacks", "attribution"),
    "report": ("drawing", "html", "claims", "serve", *QUESTIONS),
}


def test_every_folder_of_the_analysis_has_its_wall() -> None:
    folders = {file.parent.name for file in (ROOT / "analysis").glob("*/__init__.py")}
    assert folders == set(ALLOWED_IN_ANALYSIS)


@pytest.mark.parametrize("folder", ALLOWED_IN_ANALYSIS)
def test_a_folder_of_the_analysis_imports_only_the_folders_it_may_know(folder: str) -> None:
    others = tuple(f"analysis.{other}" for other in ALLOWED_IN_ANALYSIS if other != folder)
    allowed = tuple(f"analysis.{other}" for other in ALLOWED_IN_ANALYSIS[folder])
    wrong = [
        (str(file.relative_to(ROOT)), module)
        for file in sorted((ROOT / "analysis" / folder).rglob("*.py"))
        for module in imported_modules(file)
        if is_below(module, others) and not is_below(module, allowed)
    ]
    assert wrong == []


def test_what_all_folders_of_the_analysis_share_knows_none_of_them() -> None:
    folders = tuple(f"analysis.{folder}" for folder in ALLOWED_IN_ANALYSIS)
    # These are command lines of several questions, and figures of them all for notebooks.
    commands = {"figures.py", "success_rates.py", "video.py"}
    wrong = [
        (file.name, module)
        for file in sorted((ROOT / "analysis").glob("*.py"))
        for module in imported_modules(file)
        if file.name not in commands and is_below(module, folders)
    ]
    assert wrong == []
