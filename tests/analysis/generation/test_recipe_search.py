"""The section of a recipe search: its configurations, the best of them, and their images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MakeRun = Callable[..., Path]
SectionPage = Callable[..., Any]

BASE = {"num_steps": 3, "step_size": 0.08, "noise": 0.1}
SETTINGS = {"base": BASE, "tuned-a": BASE | {"step_size": 0.0512345}, "tuned-b": BASE | {"num_steps": 2}}


@pytest.fixture
def search(make_run: MakeRun, describe_run: Callable[..., None]) -> Path:
    """A search whose base is wrong about every class, tuned-a about one of three; tuned-b saw a single class."""
    run = make_run(
        recipes=tuple(SETTINGS),
        seeds=(0,),
        judges=("lite1",),
        shard_size=1,
        wrong=lambda judge, class_index, seed: class_index == 2,
    )
    for file in sorted((run / "results").iterdir()):
        table = pq.read_table(file)
        recipe, index = table["recipe"][0].as_py(), table["class_index"][0].as_py()
        if recipe == "tuned-b" and index > 0:
            file.unlink()
            continue
        answer = index + 1 if recipe == "base" else table["judge_top1"][0].as_py()["lite1"]
        columns = {
            "judge_top1": pa.array([{"lite1": answer}], table.schema.field("judge_top1").type),
            "sweep": pa.array(["tune_recipe"]),
        }
        for name, values in columns.items():
            table = table.set_column(table.column_names.index(name), name, values)
        table = table.append_column("chunk", pa.array([index], pa.int32()))
        table = table.append_column("settings", pa.array([json.dumps(SETTINGS[recipe])]))
        pq.write_table(table, file)
    describe_run(run, sweep="tune_recipe", settings={"objective": "lite1", "base": BASE})
    return run


def test_the_best_of_those_that_saw_most_comes_first(search: Path, section_page: SectionPage) -> None:
    found = section_page(search)
    rows = found.rows("Configuration")[:3]
    assert [row[0] for row in rows] == ["tuned-a", "base", "tuned-b"]
    assert [row[1] for row in rows] == ["66.7 %", "0.0 %", "100.0 %"]
    assert [row[5] for row in rows] == ["step_size 0.0512", "the base", "num_steps 2"]
    assert "The best: tuned-a, 66.7 % of its images right by lite1" in " ".join(found.text.split())
    table = pd.read_csv(found.path.parent / "run-0/configurations.csv")
    assert list(table["count"]) == [3, 3, 1]


def test_the_images_are_shown_as_those_of_a_generation_are(search: Path, section_page: SectionPage) -> None:
    found = section_page(search)
    assert len(found.classes("card")) == 3
    assert "Step by step" not in found.text
