"""A user's files and folders: what references name in them, how mistakes are told, and how they travel."""

import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from attrib_core.references import parse_reference
from attrib_core.user_code import (
    Target,
    canonical,
    find_target,
    forget,
    install,
    is_code,
    kept_with_code,
    state_of_code,
    take_folder,
    taken,
)

MINE = "import torch\n\ndef answer():\n    return 42\n\nclass Net(torch.nn.Identity):\n    pass\n"
FOLDER = {
    "nets.py": "from parts.blocks import depth\n\ndef make():\n    return depth\n",
    "parts/__init__.py": "",
    "parts/blocks.py": "import json\nfrom pathlib import Path\n"
    "depth = json.loads((Path(__file__).parent / 'sizes.json').read_text())['depth']\n",
    "parts/sizes.json": '{"depth": 3}',
    "other.py": "VALUE = 1\n",
    ".git/config.py": "not = python",
}


@pytest.fixture(autouse=True)
def nothing_imported() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("nets", "parts", "parts.blocks", "other"):
        sys.modules.pop(name, None)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def find(text: str | Path) -> Target:
    return find_target("methods", parse_reference("methods", str(text)))


def test_an_object_of_a_file_is_found_and_its_code_is_named(tmp_path) -> None:
    file = write(tmp_path, {"mine.py": MINE}) / "mine.py"
    found = find(f"{file}:answer")
    assert found.value() == 42
    assert found.definition == find(f"{file}:Net").definition
    assert "mine" not in sys.modules
    forget()
    file.write_text(MINE.replace("42", "43"))
    changed = find(f"{file}:answer")
    assert changed.value() == 43
    assert changed.definition != found.definition


def test_other_processes_know_a_file_by_its_name_without_the_path(tmp_path) -> None:
    file = write(tmp_path, {"mine.py": MINE}) / "mine.py"
    reference = parse_reference("methods", f"{file}:answer:x=1")
    assert str(canonical(reference)) == "mine.py:answer:x=1"
    file.unlink()
    assert find("mine.py:answer").value() == 42


def test_what_is_taken_works_in_a_process_that_has_no_copy_of_the_file(tmp_path) -> None:
    here = write(
        tmp_path / "here", {"mine.py": MINE, **{f"code/{name}": text for name, text in FOLDER.items()}}
    )
    take_folder(here / "code")
    find(f"{here}/mine.py:answer")
    (tmp_path / "elsewhere").mkdir()
    shipped = tmp_path / "elsewhere" / "shipped"
    shipped.write_bytes(pickle.dumps(taken()))
    for path in sorted(here.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    program = (
        "import pickle, sys; from pathlib import Path\n"
        "from attrib_core.references import parse_reference\n"
        "from attrib_core.user_code import find_target, install\n"
        "install(pickle.loads(Path('shipped').read_bytes()))\n"
        "print([find_target('m', parse_reference('m', each)).value() for each in ('mine.py:answer', 'nets:make')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=shipped.parent, capture_output=True, text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.stdout == "[42, 3]\n", done.stderr


@pytest.mark.parametrize("name", ["nets.py:make", "nets:make", "code/nets.py:make"])
def test_a_module_of_the_folder_imports_its_neighbours_and_reads_their_data(tmp_path, name) -> None:
    take_folder(write(tmp_path / "code", FOLDER))
    assert is_code(parse_reference("m", name))
    assert find(name).value() == 3


def test_the_definition_of_a_folders_module_covers_what_it_imports_and_all_data(tmp_path) -> None:
    folder = write(tmp_path / "code", FOLDER)

    def definition_after(name: str, text: str) -> str:
        forget()
        for module in ("nets", "parts", "parts.blocks"):
            sys.modules.pop(module, None)
        (folder / name).write_text(text)
        take_folder(folder)
        return find("nets:make").definition

    before = definition_after("other.py", FOLDER["other.py"])
    assert definition_after("other.py", "VALUE = 2\n") == before
    assert definition_after("new_attack.py", "def attack(): ...\n") == before
    assert definition_after("parts/blocks.py", FOLDER["parts/blocks.py"] + "width = 1\n") != before
    assert definition_after("parts/sizes.json", '{"depth": 4}') != before


RELATIVE = {
    "attacks/__init__.py": "",
    "attacks/momentum.py": "from .helpers import FACTOR\nfrom . import signs\ndef attack():\n    return FACTOR\n",
    "attacks/helpers.py": "FACTOR = 1.0\n",
    "attacks/signs.py": "import importlib\nimportlib.import_module('attacks.named')\n",
    "attacks/named.py": "",
}


@pytest.mark.parametrize("is_installed", [False, True])
@pytest.mark.parametrize("edited", ["attacks/helpers.py", "attacks/signs.py", "attacks/named.py"])
def test_the_definition_follows_relative_imports_and_computed_names(
    tmp_path, monkeypatch, is_installed, edited
) -> None:
    folder = write(tmp_path / "lab", RELATIVE)

    def definition() -> str:
        forget()
        for name in [name for name in sys.modules if name.partition(".")[0] == "attacks"]:
            del sys.modules[name]
        if is_installed:
            monkeypatch.syspath_prepend(str(folder))
        else:
            take_folder(folder)
        return find("attacks.momentum:attack").definition

    before = definition()
    assert definition() == before
    (folder / edited).write_text(RELATIVE[edited] + "WIDTH = 2\n")
    assert definition() != before


def test_a_run_directory_in_the_folder_does_not_travel_and_changes_nothing(tmp_path) -> None:
    folder = write(tmp_path / "code", FOLDER)
    take_folder(folder)
    before = find("nets:make").definition
    forget()
    write(folder, {"runs/x/sweep.json": "{}", "runs/x/results/a.parquet": "rows"})
    take_folder(folder)
    assert find("nets:make").definition == before
    assert not [path for path in taken()[0].files if path.startswith("runs/")]


def test_a_file_is_looked_for_in_the_folder_where_the_process_is_now(tmp_path, monkeypatch) -> None:
    write(tmp_path, {"a/m.py": MINE, "b/m.py": MINE.replace("42", "43")})
    found = kept_with_code(lambda text: find(text).value())
    monkeypatch.chdir(tmp_path / "a")
    assert found("m.py:answer") == 42
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(ValueError, match="two of this name have other contents"):
        found("m.py:answer")


def test_an_installed_package_is_named_with_its_version() -> None:
    found = find("safetensors.torch:load_file")
    assert re.fullmatch(r"safetensors [\d.]+", found.definition)


MISTAKES = {
    "no name": ("mine.py", "accepted is {folder}/mine.py:NAME"),
    "two names": ("mine.py:Net:answer", "with a NAME in it"),
    "no file": ("mien.py:Net", "no file 'mien.py'; near matches are mine.py"),
    "no folder": ("nowhere/mine.py:Net", "no file 'mine.py'"),
    "no such name": ("mine.py:Nett", "mine.py has no name 'Nett'; near matches are Net"),
    "a syntax error": ("syntax.py:f", "syntax.py, line 2, cannot be imported: SyntaxError"),
    "an error in it": ("fails.py:f", "fails.py, line 2, cannot be imported: ZeroDivisionError"),
    "it exits": ("exits.py:f", "exits.py, line 1, cannot be imported: SystemExit"),
    "it needs what is missing": ("needs.py:f", "No module named 'not_there'"),
    "a neighbour": ("neighbour.py:f", "--code"),
    "bytes": ("bytes.py:f", "bytes.py"),
}
FILES = {
    "mine.py": MINE,
    "syntax.py": "x = 1\ndef f(:\n",
    "fails.py": "x = 1\n1 / 0\n",
    "exits.py": "raise SystemExit(3)\n",
    "needs.py": "import not_there\n",
    "neighbour.py": "import mine\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_users_file_is_told_in_one_line(tmp_path, mistake) -> None:
    write(tmp_path, FILES)
    (tmp_path / "bytes.py").write_bytes(b"\xff\x00\x01")
    text, words = MISTAKES[mistake]
    with pytest.raises(ValueError, match=r"^methods=") as refused:
        find(f"{tmp_path}/{text}")
    assert words.format(folder=tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not_a_package.module:f", "no module 'not_a_package.module' is installed"),
        ("json.decoder:JSONDecode", "json.decoder has no name 'JSONDecode'; near matches are JSONDecoder"),
    ],
)
def test_a_module_or_a_name_that_is_not_there_is_refused(text, words) -> None:
    with pytest.raises(ValueError, match=words):
        find(text)


def test_folders_that_cannot_travel_are_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        take_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no Python file in it"):
        take_folder(write(tmp_path / "empty", {"notes.txt": "x"}))
    monkeypatch.setattr("attrib_core.user_code.snapshots.LARGEST_FOLDER", 10)
    with pytest.raises(ValueError, match=r"the largest file is .*big\.bin"):
        take_folder(write(tmp_path / "large", {"a.py": "", "big.bin": "x" * 100}))


def test_two_files_of_one_name_are_refused(tmp_path) -> None:
    write(tmp_path, {"a/mine.py": MINE, "b/mine.py": MINE + "#"})
    find(f"{tmp_path}/a/mine.py:answer")
    with pytest.raises(ValueError, match=r"'mine\.py': two of this name have other contents"):
        find(f"{tmp_path}/b/mine.py:answer")


def test_a_folders_module_cannot_take_the_name_of_one_that_is_loaded(tmp_path) -> None:
    take_folder(write(tmp_path / "code", {"json.py": "def f(): ...\n"}))
    with pytest.raises(ValueError, match="the name json is already that of"):
        find("json.py:f")


@pytest.mark.parametrize("text", ["pgd", "timm_model", "resnet50.a1_in1k", "imaginary:NAME"])
def test_names_of_ours_and_of_families_are_no_code(text) -> None:
    assert not is_code(parse_reference("m", text))


def test_installing_the_same_code_twice_is_no_conflict(tmp_path) -> None:
    find(f"{write(tmp_path, {'mine.py': MINE})}/mine.py:answer")
    install(taken())
    assert len(taken()) == 1


def test_a_file_that_is_edited_between_two_calls_is_read_again(tmp_path) -> None:
    file = write(tmp_path, {"mine.py": MINE}) / "mine.py"
    before = find(f"{file}:answer"), state_of_code()
    file.write_text(MINE.replace("42", "44"))
    assert state_of_code() != before[1]
    assert find(f"{file}:answer").value() == 44
    assert find(f"{file}:answer").definition != before[0].definition
    assert len(taken()) == 1


def test_code_from_another_process_is_not_mixed_up_with_a_file_of_its_name(tmp_path, monkeypatch) -> None:
    find(f"{write(tmp_path / 'there', {'mine.py': MINE})}/mine.py:answer")
    codes = taken()
    forget()
    install(codes)
    monkeypatch.chdir(write(tmp_path / "here", {"mine.py": MINE.replace("42", "0")}))
    assert find("mine.py:answer").value() == 42
