"""The guide of the analysis: every block runs on real runs, and pandas and SQL give the same answers."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "analysis" / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.long


@dataclass
class Section:
    """A heading of the guide and its blocks, by language."""

    title: str
    blocks: dict[str, list[str]] = field(default_factory=dict)


def sections(guide: str = GUIDE) -> list[Section]:
    found = []
    for part in re.split(r"^#+ (?=.*\n)", re.sub(r"(?m)^(import|from|#!)", r"\1", guide), flags=re.MULTILINE)[
        1:
    ]:
        section = Section(part.partition("\n")[0])
        for language, text in re.findall(r"```(\w+)\n(.*?)```", part, re.DOTALL):
            section.blocks.setdefault(language, []).append(text)
        found.append(section)
    return found


SECTIONS = sections()
COMPARED = [section.title for section in SECTIONS if {"python", "sql"} <= section.blocks.keys()]


@dataclass
class Answers:
    """What the last lines of the Python blocks gave, and the SQL, by the title of the section."""

    python: dict[str, list[Any]] = field(default_factory=dict)
    sql: dict[str, pd.DataFrame] = field(default_factory=dict)


@pytest.fixture(scope="module")
def answers(real_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """The guide from top to bottom, as one would read it in a notebook."""
    answers, namespace = Answers(), {}
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "runs").symlink_to(real_runs / "runs")
    mpl.use("Agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for section in SECTIONS:
            blocks = [block for block in section.blocks.get("python", []) if "import ray" not in block]
            answers.python[section.title] = [evaluate(block, namespace) for block in blocks]
            for query in section.blocks.get("sql", []):
                answers.sql[section.title] = duckdb.sql(query).df()
        yield answers
    plt.close("all")


def evaluate(block: str, namespace: dict[str, Any]) -> Any:
    """Runs a block; the value of its last line, if that is an expression."""
    tree = ast.parse(block)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, block, "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), block, "eval"), namespace)


def cells(answer: Any) -> list[tuple[Any, ...]]:
    """The rows of an answer in one order: names and whole numbers as text, other numbers as they are."""
    if not isinstance(answer, pd.Series | pd.DataFrame):
        return [(float(answer),)]
    if answer.index.names != [None]:
        answer = answer.reset_index()
    rows = [tuple(map(plain, row)) for row in answer.itertuples(index=False, name=None)]
    return sorted(rows, key=lambda row: tuple(str(cell) for cell in row if not isinstance(cell, float)))


def plain(cell: Any) -> Any:
    if cell is None or pd.isna(cell):
        return "missing"
    # Counts may have become floats beside missing values.
    return float(cell) if not isinstance(cell, str) else cell


def test_sql_and_pandas_are_both_there_for_every_kind_of_run() -> None:
    assert len(COMPARED) >= 12
    queries = " ".join(query for section in SECTIONS for query in section.blocks.get("sql", []))
    kinds = ("attack", "generate", "attribute", "attribute_training", "modify")
    assert all(f"runs/{kind}/results/*.parquet" in queries for kind in kinds)


@pytest.mark.parametrize("title", COMPARED)
def test_pandas_and_sql_give_the_same_answer(answers: Answers, title: str) -> None:
    ours, theirs = cells(answers.python[title][0]), cells(answers.sql[title])
    assert len(ours) > 0
    ours, theirs = sorted(ours, key=str), sorted(theirs, key=str)
    assert len(ours) == len(theirs)
    for row, other in zip(ours, theirs, strict=True):
        for cell, expected in zip(row, other, strict=True):
            assert cell == (
                expected if isinstance(expected, str) else pytest.approx(expected, rel=1e-4, abs=1e-9)
            )


def test_other_blocks_give_tables_images_or_figures(answers: Answers) -> None:
    given = [answer for parts in answers.python.values() for answer in parts if answer is not None]
    assert len(given) > 25
    assert all(len(answer) for answer in given if isinstance(answer, pd.DataFrame | pd.Series | list))
    figures = answers.python["Figures in a notebook"]
    assert len(figures) > 12
    # The chart of one's own is saved instead.
    assert all(isinstance(figure, Figure) for figure in figures[:-1])


def test_ray_data_groups_the_rows_of_the_guide(in_real_runs: Path) -> None:
    (block,) = [
        block for section in SECTIONS for block in section.blocks.get("python", []) if "import ray" in block
    ]
    *lines, last = block.strip().splitlines()
    script = "\n".join([*lines, f"print({last}.to_csv(index=False))"])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    expected = pd.read_parquet("runs/attack/results").groupby("method").size()
    assert {f"{method},{count}" for method, count in expected.items()} <= set(done.stdout.splitlines())


def guess_all(name: str) -> None:
    """Fill in the guesses of `analysis.blind`, as a person does before they are scored."""
    guesses = Path("naming", "guesses.csv")
    pd.read_csv(guesses).assign(guess=name).to_csv(guesses, index=False)


def test_commands_of_the_guide_run(in_real_runs: Path) -> None:
    commands = [
        line
        for section in SECTIONS
        for block in section.blocks.get("bash", [])
        for line in block.splitlines()
    ]
    assert commands
    for command in commands:
        program, *words = shlex.split(command, comments=True)  # as bash reads it
        assert program == "python"
        if "score" in words:
            guess_all("dog")
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert list((in_real_runs / "exported").glob("*.tar"))
