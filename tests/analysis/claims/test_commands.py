import importlib
import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from analysis.claims import CLAIMS

ROOT = Path(__file__).parents[3]
COMMANDS = sorted({part for claim in CLAIMS for part in claim.command.split(" && ")})
OPTIONS = {
    "attack_all": "AttackOptions",
    "attribute_all": "AttributeOptions",
    "attribute_training": "AttributeTrainingOptions",
    "generate_all": "GenerateOptions",
    "modify_all": "ModifyOptions",
    "train_classifier": "TrainOptions",
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[1:4]))
def test_each_command_is_one_that_its_script_takes(command: str) -> None:
    python, script, *arguments = shlex.split(command)
    assert python == "python"
    name = script.removeprefix("sweeps/").removesuffix(".py")
    options: type[BaseModel] = getattr(importlib.import_module(f"sweeps.{name}"), OPTIONS[name])
    given: dict[str, Any] = {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in zip(arguments[::2], arguments[1::2], strict=True)
    }
    assert options.model_validate(given).model_fields_set >= given.keys() > set()


def test_make_reproduce_runs_each_command() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    for variable, value in {
        "$(BIN)/": "",
        "$(REPRODUCE)": "runs/reproduce",
        "$(FLOWERS)": "FLOWERS",
    }.items():
        text = text.replace(variable, value)
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert [command for command in COMMANDS if command not in lines] == []
