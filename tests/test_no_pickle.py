"""Nothing in the packages can run what a file says: each use of what could is named here, with its reason.

That hostile files are refused in fact is tested beside their readers, and in `sweeps/test_hostile_files.py`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("attrib_core", "sweeps", "cluster", "analysis")

# Modules, functions and methods that run what they are given, or objects from bytes that say what to run.
DANGEROUS = (
    *(
        "pickle",
        "_pickle",
        "cloudpickle",
        "ray.cloudpickle",
        "dill",
        "joblib",
        "shelve",
        "marshal",
        "copyreg",
    ),
    *("torch.load", "torch.jit", "torch.hub", "torch.package", "torch.export.load", "multiprocessing"),
    *("numpy.load", "numpy.lib.format", "pandas.read_pickle", "pandas.read_hdf", "pandas.eval"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.Loader", "yaml.UnsafeLoader"),
    *("eval", "exec", "__import__", "subprocess", "runpy"),
    *("os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "os.posix_spawn", "asyncio.subprocess"),
    *("tarfile.TarFile.extractall", "shutil.unpack_archive", "zipfile"),
)
METHODS = ("read_pickle", "to_pickle", "extractall", "load_state_dict_from_url", "get_state_dict")

UNPICKLING = "the error with which torch's restricted reader refuses an object that is no tensor"
ALLOWED = {
    ("attrib_core/classifiers/weights_files.py", "pickle.UnpicklingError"): UNPICKLING,
    ("attrib_core/classifiers/torchvision_models.py", "pickle.UnpicklingError"): UNPICKLING,
    ("attrib_core/classifiers/weights_files.py", "torch.load"): "weights of others, tensors only",
    ("attrib_core/classifiers/torchvision_models.py", "get_state_dict"): "published weights, by their digest",
    (
        "attrib_core/classifiers/exported_programs.py",
        "torch.export.load",
    ): "a program that its user names as a model, as a file of code; never one that a directory or a file names",
    ("attrib_core/datasets/fashion_mnist_files.py", "subprocess.SubprocessError"): "an error",
    (
        "attrib_core/datasets/fashion_mnist_files.py",
        "subprocess.run",
    ): "apt-get and dpkg, a list of constants",
    ("attrib_core/datasets/fashion_mnist_files.py", "subprocess.DEVNULL"): "no input",
    ("sweeps/hatch_build.py", "runpy.run_path"): "our own table of commands, when a wheel is built",
    ("sweeps/provenance.py", "subprocess.run"): "git, a list of constants",
    ("sweeps/provenance.py", "subprocess.CalledProcessError"): "an error",
    ("sweeps/provenance.py", "subprocess.TimeoutExpired"): "an error",
    ("sweeps/notices/driver.py", "subprocess.Popen"): "this Python, a module of ours",
    ("sweeps/notices/driver.py", "subprocess.PIPE"): "lines of JSON",
    ("sweeps/notices/driver.py", "subprocess.DEVNULL"): "no errors to print",
    ("sweeps/notices/driver.py", "subprocess.TimeoutExpired"): "an error",
    ("sweeps/notices/wandb.py", "subprocess.run"): "this Python, a constant program",
    ("sweeps/notices/wandb.py", "subprocess.DEVNULL"): "no input",
    ("sweeps/notices/wandb.py", "subprocess.TimeoutExpired"): "an error",
}
# Arguments without which a call is refused here, allowed or not.
REQUIRED = {
    "torch.load": {"weights_only": True},
    "get_state_dict": {"weights_only": True, "check_hash": True},
}


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.AST]:
    """Return the syntax tree of every module of the packages, by its path."""
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Return the full name of each imported name."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def full_name(node: ast.AST, imported: dict[str, str]) -> str | None:
    """Return `numpy.load` for `np.load`; for a method of something that is no module, `.method`."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = full_name(node.value, imported)
        known = isinstance(node.value, ast.Attribute | ast.Name) and base and base[0] != "."
        return f"{base}.{node.attr}" if known and is_imported(node, imported) else f".{node.attr}"
    return None


def is_imported(node: ast.AST, imported: dict[str, str]) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in imported


def dangers(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of all that is dangerous in a module, once for each use."""
    imported = imported_names(tree)
    parts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        # `pickle` within `pickle.load` is the same use.
        name = None if id(node) in parts else full_name(node, imported)
        if name is not None and name.lstrip(".") in METHODS:
            yield name.lstrip(".")
        elif name is not None and is_below(name, DANGEROUS):
            yield name
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.*" for alias in node.names if alias.name == "*")
        if isinstance(node, ast.Call) and any(keyword.arg == "shell" for keyword in node.keywords):
            yield "shell="


def is_below(name: str, names: tuple[str, ...]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in names)


def without_arguments(tree: ast.AST) -> Iterator[str]:
    """Yield the calls that lack an argument which must be given literally."""
    imported = imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = (full_name(node.func, imported) or "").lstrip(".")
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            for argument, value in REQUIRED.get(name, {}).items():
                found = given.get(argument)
                if not isinstance(found, ast.Constant) or found.value is not value:
                    yield f"{name} without {argument}={value}"


def test_what_could_run_code_is_used_where_it_is_named_here_and_nowhere_else(trees) -> None:
    found = {(path, danger) for path, tree in trees.items() for danger in dangers(tree)}
    assert found == ALLOWED.keys()


def test_weights_are_read_as_tensors_only(trees) -> None:
    assert {path: wrong for path, tree in trees.items() if (wrong := list(without_arguments(tree)))} == {}


@pytest.mark.parametrize(
    ("code", "danger"),
    [
        ("import pickle\npickle.loads(b'')", "pickle.loads"),
        ("from pickle import loads as read\nread(b'')", "pickle.loads"),
        ("from ray import cloudpickle\ncloudpickle.loads(b'')", "ray.cloudpickle.loads"),
        ("import torch\nread = torch.load", "torch.load"),
        ("import numpy as np\nnp.load('x')", "numpy.load"),
        ("import pandas as pd\npd.read_pickle('x')", "pandas.read_pickle"),
        ("frame.read_pickle('x')", "read_pickle"),
        ("import yaml\nyaml.load('x', yaml.Loader)", "yaml.load"),
        ("eval('1')", "eval"),
        ("import subprocess\nsubprocess.run('ls', shell=True)", "shell="),
        ("import os\nos.system('ls')", "os.system"),
        ("from pickle import *", "pickle.*"),
        ("archive.extractall()", "extractall"),
    ],
)
def test_the_walk_sees_it(code: str, danger: str) -> None:
    assert danger in list(dangers(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["network.eval()", "import yaml\nyaml.safe_load('x')", "import re\nre.compile('')"]
)
def test_the_walk_leaves_the_harmless_alone(code: str) -> None:
    assert list(dangers(ast.parse(code))) == []


@pytest.mark.parametrize("arguments", ["", ", weights_only=False", ", weights_only=safe", ", **options"])
def test_weights_only_must_stand_there_literally(arguments: str) -> None:
    code = f"import torch\ntorch.load('x'{arguments})"
    assert list(without_arguments(ast.parse(code))) == ["torch.load without weights_only=True"]
