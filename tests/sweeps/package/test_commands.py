"""The console command: what it lists, what it says without arguments, and that it runs what the scripts run."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import attrib_sweeps
import pytest
from attrib_sweeps.__main__ import USER_MISTAKE, main
from attrib_sweeps.commands import COMMANDS
from attrib_sweeps.completion import options, script
from attrib_sweeps.place import full_name

from sweeps.doctor.software import FEATURES, FOR_DEVELOPERS

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["analysis.attacks.curves", "sweeps.store", "attrib_core.attacks"])
def test_a_name_of_the_wheel_is_the_same_module_in_a_checkout(name: str) -> None:
    own = importlib.import_module(name)
    assert importlib.import_module(f"attrib_sweeps.{name}") is own
    assert own.__spec__ is not None
    assert own.__spec__.name == own.__name__ == name
    assert importlib.reload(attrib_sweeps).analysis is importlib.import_module("analysis")


def test_a_name_of_the_wheel_can_be_run_in_a_checkout() -> None:
    command = [sys.executable, "-m", "attrib_sweeps.analysis.success_rates", "--help"]
    assert "usage:" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"attrib_sweeps\.analysis\.curvs"):
        importlib.import_module("attrib_sweeps.analysis.curvs")


def test_the_documentation_imports_by_names_that_hold_in_the_wheel() -> None:
    for page in (ROOT / "README.md", ROOT / "analysis" / "README.md", *ROOT.glob("docs/**/*.md")):
        inside = re.findall(
            r"^ *from (?:analysis|attrib_core|cluster|sweeps)\b.*",
            page.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        assert not inside, page


def test_every_module_with_a_command_line_has_a_command() -> None:
    files = [file for folder in ("sweeps", "analysis") for file in (ROOT / folder).rglob("*.py")]
    runnable = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if "package" not in file.parts and 'if __name__ == "__main__":' in file.read_text(encoding="utf-8")
    }
    started_by_sweeps = {"sweeps.notices.process"}
    assert {command.module for command in COMMANDS.values()} == runnable - started_by_sweeps


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_a_function_and_has_two_examples(name: str) -> None:
    assert callable(importlib.import_module(full_name(COMMANDS[name].module)).main)
    assert len(set(COMMANDS[name].examples)) == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_the_examples_exist(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    known = set(options(name))
    first_words = {example.split()[0] for example in COMMANDS[name].examples}
    for example in COMMANDS[name].examples:
        given = {word for word in example.split() if word.startswith("--")}
        # `blind score` has options of its own.
        assert given <= known or "score" in first_words
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"doctor"}))
def test_without_arguments_a_command_prints_two_examples_and_does_nothing(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == USER_MISTAKE
    said = capsys.readouterr().err
    assert all(f"attrib-sweeps {name} {example}\n" in said for example in COMMANDS[name].examples)


@pytest.mark.parametrize("name", ["atack", "frobnicate"])
def test_an_unknown_command_is_refused_with_what_would_be_accepted(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == USER_MISTAKE
    said = capsys.readouterr().err
    assert repr(name) in said
    assert ("did you mean 'attack'?" if name == "atack" else ", ".join(COMMANDS)) in said


def test_the_shell_completes_commands_and_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [])
    asked = (
        'COMP_WORDS=(attrib-sweeps cur); COMP_CWORD=1; _attrib_sweeps; echo "${COMPREPLY[@]}";'
        'COMP_WORDS=(attrib-sweeps attack --eps); COMP_CWORD=2; _attrib_sweeps; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", f"{script('bash')}\n{asked}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["curves", "--epsilons"]


def test_the_public_names_exist_and_are_what_type_checkers_are_told() -> None:
    source = Path(attrib_sweeps.__file__).read_text(encoding="utf-8")
    for name, module in attrib_sweeps.PUBLIC.items():
        assert getattr(attrib_sweeps, name) is getattr(importlib.import_module(module), name)
        assert f"    from {module} import {name} as {name}\n" in source
    told = re.findall(r"^    from [\w.]+ import (\w+) as \1$", source, re.MULTILINE)
    assert sorted(told) == sorted(attrib_sweeps.PUBLIC)


def test_an_unknown_public_name_is_an_attribute_error_that_lists_the_others() -> None:
    with pytest.raises(AttributeError, match=r"has no 'atack'; it has .*attack"):
        _ = attrib_sweeps.atack


def test_reading_results_loads_neither_torch_nor_ray() -> None:
    code = "import sys, attrib_sweeps; attrib_sweeps.results; print({'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_doctor_knows_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) == set(FEATURES) | FOR_DEVELOPERS


@pytest.mark.parametrize(
    ("output", "status", "said"),
    [
        ("runs", 0, "Sweeps can run here."),
        ("/proc/results", 1, "/proc/results cannot be written"),
        ("x" * 300, 1, "cannot be written"),
    ],
)
def test_the_doctor_says_whether_results_can_be_written(
    output: str, status: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    assert main(["doctor", "--quick", "--output", output]) == status
    assert said in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_says_that_torch_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudnn.so.9: cannot open shared object file')")
    command = [sys.executable, "-m", "attrib_sweeps", "doctor", "--quick"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "wrong  packages        cannot be imported: " in done.stdout
    assert "libcudnn.so.9" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [[], ["completion", "bash"], ["generate", "--help"]])
def test_a_reader_that_has_enough_ends_it_quietly(arguments: list[str]) -> None:
    command = [sys.executable, "-u", "-m", "attrib_sweeps", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
