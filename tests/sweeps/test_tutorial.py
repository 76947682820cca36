"""docs/tutorial.md is true: its files are written, and its commands typed, in an empty folder."""

import importlib
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from attrib_sweeps.commands import COMMANDS

from attrib_core.user_code import forget

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"Write this into `(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))
TYPED = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.strip().splitlines()
]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tutorial")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def test_the_page_has_its_files_and_commands() -> None:
    assert list(FILES) == ["draw.py", "net.py"]
    assert len(TYPED) == 9


@pytest.mark.parametrize("number", range(len(TYPED)))
def test_a_command_of_the_page_works(
    number: int, folder: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    program, *words = shlex.split(TYPED[number])
    if program == "python":
        runpy.run_path(words[0], run_name="__main__")
        assert len(list(folder.glob("shapes/*/*/*.png"))) == 1500
        return
    forget()
    if words[0] in ("attack", "generate"):
        request.getfixturevalue("in_this_process")
    added = ["--threads", "1"] if words[0] == "train" else []  # two that wait for each other burn the cores
    status = importlib.import_module(COMMANDS[words[0]].module).main([*words[1:], *added])
    assert not status, capsys.readouterr().err
    if words[0] == "train":
        share = float(re.findall(r"test accuracy ([\d.]+)%", capsys.readouterr().out)[-1])
        assert share > 98


def test_what_the_page_says_is_there(folder: Path) -> None:
    for file in (
        "figures/triptychs-trained-fgsm-32-255-001.png",
        "figures/contact-sheet-small-001.png",
        "report/index.html",
    ):
        assert (folder / file).exists(), file
    assert sorted(pd.read_parquet("runs/generate/results")["seed"].unique()) == [0, 1, 2, 3, 4, 5]
    found: dict[str, object] = {}
    (block,) = [
        each for each in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "read_parquet" in each
    ]
    exec(compile(block, "tutorial.md", "exec"), found)
    assert len(pd.read_parquet("runs/attack/results")) == 300 * 2 * 5
