"""`--help` of every command: at most 100 columns, each option described once, options in groups."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tyro
from pydantic import BaseModel

from sweeps.help_text import GROUPS, OWN
from sweeps.store import __main__ as store

ROOT = Path(__file__).parents[2]
SWEEPS = {
    "activations_all": "ActivationOptions",
    "attack_all": "AttackOptions",
    "attribute_all": "AttributeOptions",
    "attribute_training": "AttributeTrainingOptions",
    "generate_all": "GenerateOptions",
    "modify_all": "ModifyOptions",
    "train_classifier": "TrainOptions",
    "tune_recipe": "TuneOptions",
}
FIGURES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in (ROOT / "analysis").rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)


def options_of(sweep: str) -> type[BaseModel]:
    kind: type[BaseModel] = getattr(importlib.import_module(f"sweeps.{sweep}"), SWEEPS[sweep])
    return kind


def printed(main: Callable[..., object], arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    return capsys.readouterr().out


def described(text: str) -> list[tuple[str, str]]:
    """Return each option's first flag, and the text behind or below it."""
    parts = re.split(r"^  (?=-)", text, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        first, _, below = part.partition("\n")
        head, _, beside = first.partition("  ")
        continued = "\n".join(line for line in below.splitlines() if line.startswith("    "))
        flags = [word.strip(",") for word in head.split() if word.startswith("--")]
        found.append((flags[0], (beside + continued).strip()))
    return found


@pytest.mark.parametrize("width", [100, 300])
@pytest.mark.parametrize("sweep", SWEEPS)
def test_help_of_a_sweep_fits_100_columns_on_any_terminal(sweep, width, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = printed(importlib.import_module(f"sweeps.{sweep}").main, ["--help"], capsys)
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize("sweep", SWEEPS)
def test_help_of_a_sweep_describes_each_option_once_in_groups(sweep, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = printed(importlib.import_module(f"sweeps.{sweep}").main, ["-h"], capsys)
    flags = [flag for flag, _ in described(text)]
    expected = [f"--{name.replace('_', '-')}" for name in options_of(sweep).model_fields]
    assert sorted(flags) == sorted([*expected, "--help"])
    assert all(about for _, about in described(text))
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert titles == [title for title in (OWN, *GROUPS) if title in titles]
    assert {OWN, "the model", "what is written, and how it runs"} <= set(titles)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_help_names_the_flags_that_tyro_takes(sweep, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ours = printed(importlib.import_module(f"sweeps.{sweep}").main, ["--help"], capsys)
    tyros = printed(lambda given: tyro.cli(options_of(sweep), args=given), ["--help"], capsys)
    assert flags_of(ours, "^  (--.*)") == flags_of(tyros, r"^[│ ] +(--.*)")


def flags_of(text: str, line: str) -> set[str]:
    """Return the flags that lines begin with: `--plan, --no-plan  Print`."""
    heads = [re.split(r"  | [^-\s]", found)[0] for found in re.findall(line, text, re.MULTILINE)]
    return {flag for head in heads for flag in re.findall(r"--[\w-]+", head)}


def test_a_group_names_options_that_there_are() -> None:
    options = {name for sweep in SWEEPS for name in options_of(sweep).model_fields}
    assert {name for names in GROUPS.values() for name in names.split()} <= options


def test_help_shows_what_a_file_says(tmp_path, capsys) -> None:
    file = tmp_path / "attack.yaml"
    file.write_text("methods: [pgd]\nno_clip: true\n")
    main = importlib.import_module("sweeps.attack_all").main
    text = dict(described(printed(main, ["--config", str(file), "--help"], capsys)))
    assert text["--methods"].endswith("(default: pgd)")
    assert text["--no-clip"].endswith("(default: on)")


@pytest.mark.parametrize("module", FIGURES)
def test_help_of_a_figure_fits_and_describes_each_option(module, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    command = importlib.import_module(module)
    if not hasattr(command, "main"):
        command = importlib.import_module(f"{module}.__main__")
    for arguments in [["--help"], *([["score", "--help"]] if module == "analysis.blind" else [])]:
        text = printed(command.main, arguments, capsys)
        assert max(len(line) for line in text.splitlines()) <= 100
        flags = [flag for flag, _ in described(text)]
        assert flags.count("--help") == 1
        assert len(flags) == len(set(flags))
        assert all(about for _, about in described(text)), described(text)


@pytest.mark.parametrize("command", [[], ["verify"], ["gc"], ["status"], ["export-webdataset"]])
def test_help_of_the_maintenance_fits(command, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = printed(store.main, [*command, "--help"], capsys)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert all(about for _, about in described(text))
