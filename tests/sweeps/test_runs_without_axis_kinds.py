"""Run directories that the version before wrote, one of each sweep: they are read, reported and continued.

Their sweep.json lacks `axis_kinds` and `batch_size`; it names the commit that wrote them and the command, which
the tests repeat on the data that `write_fashion_mnist` writes. The tape of `attribute_training` is stored without
its checkpoints, which are large: a command that needs them records them anew.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.load import results
from analysis.report.__main__ import main as report
from analysis.run import open_run
from sweeps import attack_all, attribute_all, attribute_training, generate_all, modify_all
from sweeps.cli import run_command
from sweeps.schemas import IDENTITY, SCHEMA_VERSION
from sweeps.schemas.axis_kinds import AXIS_KINDS
from sweeps.store import RunDirectory
from sweeps.store.verification import Verification, verify
from sweeps.tune_recipe import TuneOptions, run_search

RUNS = Path(__file__).parents[1] / "data" / "runs_without_axis_kinds"
RELATIVE_ERROR = 1e-6  # the literals below have seven digits


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """What a stored run holds, and what a larger request adds to it.

    `section` is the title of its part of a report. `row` selects one row and `values` are some of its columns.
    `grown` are options that replace those of the recorded command.
    """

    command: Callable[[Sequence[str]], int]
    section: str
    num_shards: int
    num_rows: int
    num_images: int
    row: str
    values: dict[str, float]
    grown: dict[str, str]
    num_shards_grown: int
    num_rows_grown: int


EARLIER_RUNS = {
    "attack": EarlierRun(
        command=attack_all.main,
        section="Attacks: attack",
        num_shards=4,
        num_rows=42,
        num_images=28,
        row="method == 'minimum_fgsm' and image_index == 0",
        values={"epsilon": 0.02159926, "linf": 0.02159929, "clean_prediction": 9, "prediction_u8": 7},
        grown={"--epsilons": "0,8/255,16/255"},
        num_shards_grown=7,  # the minimum needs no shard for a new ε
        num_rows_grown=60,
    ),
    "attribute": EarlierRun(
        command=attribute_all.main,
        section="Attributions: attribute",
        num_shards=1,
        num_rows=12,
        num_images=2,
        row="method == 'integrated_gradients' and image_index == 0",
        values={"prediction": 9, "completeness_gap": -0.02108586, "deletion_score": 0.03054349},
        grown={"--images": "0-4"},
        num_shards_grown=2,
        num_rows_grown=15,
    ),
    "attribute_training": EarlierRun(
        command=attribute_training.main,
        section="Attribution along training: attribute_training",
        num_shards=1,
        num_rows=22,
        num_images=2,
        row="method == 'gradient_x_input' and step == 4 and image_index == 0",
        values={"training_loss": 2.287662, "attribution_scale": 0.1889025, "prediction": 0},
        grown={"--methods": "gradient_x_input,loss_gradient,training_integrated_gradient,gradient"},
        num_shards_grown=2,
        num_rows_grown=32,
    ),
    "generate": EarlierRun(
        command=generate_all.main,
        section="Generated images: generate",
        num_shards=2,
        num_rows=4,
        num_images=4,
        row="recipe == 'plain' and class_index == 1",
        values={"logit": 1.520346, "top1": 815, "judge_top1.efficientnet_lite2": 885},
        grown={"--classes": "1-3"},
        num_shards_grown=4,
        num_rows_grown=6,
    ),
    "modify": EarlierRun(
        command=modify_all.main,
        section="Modified images: modify",
        num_shards=10,
        num_rows=40,
        num_images=40,
        row="target == 5 and image_index == 0",
        values={"first_hit_step": 3, "hit_l2": 0.536328, "target_logit": 6.012068},
        grown={"--images": "0-4"},
        num_shards_grown=20,
        num_rows_grown=50,
    ),
    "tune_recipe": EarlierRun(
        command=partial(run_command, TuneOptions, run_search),
        section="Recipe search: tune_recipe",
        num_shards=2,
        num_rows=8,
        num_images=8,
        row="recipe == 'tuned-037633a8' and class_index == 1",
        values={"logit": 6.335449, "top1": 265, "judge_top1.efficientnet_lite1": 974},
        grown={"--num-samples": "3"},
        num_shards_grown=3,
        num_rows_grown=12,
    ),
}


# The quick suite grows one of them; some load three networks or Ray Tune.
SLOW_TO_GROW = tuple(kind for kind in EARLIER_RUNS if kind != "attack")
BY_RAY_TUNE = ("attribute_training", "tune_recipe")


@pytest.fixture(params=EARLIER_RUNS)
def sweep(request: pytest.FixtureRequest) -> str:
    """Return the kind of a sweep, one after another."""
    return str(request.param)


@pytest.fixture
def copied_run(sweep: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUNS / sweep, tmp_path / sweep))


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory, write_fashion_mnist) -> Path:
    """Write the data that the stored runs were made of. Another content is refused by its digest."""
    return write_fashion_mnist(tmp_path_factory.mktemp("data"), num_train=64, num_test=8)


@pytest.fixture
def run_again(sweep: str, copied_run: Path, data_root: Path, in_this_process: None) -> Callable[..., int]:
    """Return a function that gives the recorded command again, with changed options."""

    def run(changed: dict[str, str] | None = None) -> int:
        _, *words = record_of(RUNS / sweep)["invocations"][0]["command"]
        options = dict(zip(words[::2], words[1::2], strict=True))
        del options["--address"]
        if "--data-root" in options:
            options["--data-root"] = str(data_root)
        options |= {"--output": str(copied_run)} | (changed or {})
        return EARLIER_RUNS[sweep].command([word for option in options.items() for word in option])

    return run


def record_of(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "sweep.json").read_text())
    return record


def files_of(run: Path) -> dict[str, bytes]:
    files = [*(run / "results").iterdir(), *(run / "images").iterdir()]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def check_values(rows: pd.DataFrame, expected: EarlierRun) -> None:
    """Check the selected row against the literal values."""
    [row] = rows.query(expected.row).to_dict("records")
    found = {name: row[name] for name in expected.values}
    assert found == pytest.approx(expected.values, rel=RELATIVE_ERROR)


def test_each_sweep_has_a_stored_run() -> None:
    assert {path.name for path in RUNS.iterdir()} == EARLIER_RUNS.keys() == AXIS_KINDS.keys()


def test_the_record_is_that_of_the_version_before(sweep: str) -> None:
    record = record_of(RUNS / sweep)
    assert record["sweep"] == sweep
    assert record["schema_version"] == SCHEMA_VERSION
    assert not {"axis_kinds", "batch_size"} & record.keys()


def test_rows_and_images_are_read(sweep: str) -> None:
    expected = EARLIER_RUNS[sweep]
    rows = results(RUNS / sweep)
    assert len(rows) == expected.num_rows
    assert not rows.duplicated(list(IDENTITY[sweep])).any()
    check_values(rows, expected)
    assert verify(RunDirectory(RUNS / sweep)) == Verification(
        num_committed=expected.num_shards,
        num_rows=expected.num_rows,
        num_images=expected.num_images,
        num_orphan_images=0,
        failures=[],
        problems=[],
    )


def test_the_planned_shards_are_counted(sweep: str, copied_run: Path) -> None:
    num_shards = EARLIER_RUNS[sweep].num_shards
    run = open_run(copied_run)
    assert (run.num_planned, run.status.num_committed, run.finished) == (num_shards, num_shards, True)
    next((copied_run / "results").iterdir()).unlink()
    (copied_run / "_SUCCESS").unlink()
    assert open_run(copied_run).missing() == (
        f"{num_shards - 1} of {num_shards} planned shards are committed; 1 are missing."
    )


@pytest.mark.long
def test_the_report_has_its_section(sweep: str, tmp_path: Path) -> None:
    expected = EARLIER_RUNS[sweep]
    report([str(RUNS / sweep), "--output", str(tmp_path / "report")])
    index = (tmp_path / "report" / "index.html").read_text()
    assert f">{expected.section}</h2>" in index
    assert f"{expected.num_shards} shard" in index
    assert f"{expected.num_rows} rows" in index
    assert '<span class="badge good">finished</span>' in index
    assert "unknown" not in index.lower()


def test_the_same_command_finds_nothing_to_do(sweep: str, copied_run: Path, run_again) -> None:
    before = files_of(copied_run)
    assert run_again() == 0
    assert files_of(copied_run) == before
    assert (copied_run / "_SUCCESS").exists()


@pytest.mark.parametrize(
    "sweep",
    [pytest.param(name, marks=[pytest.mark.long] * (name in SLOW_TO_GROW)) for name in EARLIER_RUNS],
    indirect=True,
)
def test_a_larger_request_adds_its_shards_alone(
    sweep: str, copied_run: Path, run_again, request: pytest.FixtureRequest
) -> None:
    if sweep in BY_RAY_TUNE:
        request.getfixturevalue("local_cluster")
    expected = EARLIER_RUNS[sweep]
    before, record_before = files_of(copied_run), record_of(copied_run)
    assert run_again(expected.grown) == 0
    after = files_of(copied_run)
    assert {name: after[name] for name in before} == before
    record = record_of(copied_run)
    assert record["axis_kinds"] == AXIS_KINDS[sweep].as_record()
    num_blocks = len(record_before["blocks"])
    assert record["blocks"][:num_blocks] == record_before["blocks"]
    assert len(record["blocks"]) > num_blocks
    assert [record[name] for name in ("settings", "fingerprint")] == [
        record_before[name] for name in ("settings", "fingerprint")
    ]
    found = verify(RunDirectory(copied_run))
    assert (found.num_committed, found.num_rows) == (expected.num_shards_grown, expected.num_rows_grown)
    assert (found.num_orphan_images, found.failures, found.problems) == (0, [], [])
    rows = results(copied_run)
    assert not rows.duplicated(list(IDENTITY[sweep])).any()
    check_values(rows, expected)
    run = open_run(copied_run)
    assert (run.num_planned, run.finished) == (expected.num_shards_grown, True)
