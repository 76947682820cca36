"""The recipe search, by real Ray Tune on tiny images: what it writes, how it resumes, what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from attrib_core.generation import PyramidSettings
from attrib_core.generation.recipe_files import settings_digest
from sweeps.cli import run_command
from sweeps.generate_all import GenerateOptions, generation_sweep
from sweeps.runner import run_sweep
from sweeps.store import RunDirectory
from sweeps.store.verification import verify
from sweeps.tune_recipe import TuneOptions, run_search

SCRIPT = Path(__file__).parents[2] / "sweeps" / "tune_recipe.py"
TINY = [
    *(
        "--classes",
        "0-7",
        "--shard-size",
        "4",
        "--num-samples",
        "3",
        "--num-steps",
        "4",
        "--image-size",
        "64",
    ),
    *("--num-workers", "2", "--threads-per-worker", "1", "--batch-size", "4"),
]


def tune(output: Path, *options: str) -> int:
    return run_command(TuneOptions, run_search, [*TINY, "--output", str(output), *options])


@pytest.fixture(scope="module")
def finished(local_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search. At four steps of 64 pixels nothing is recognised, so ties keep all trials going."""
    output = tmp_path_factory.mktemp("finished") / "tune"
    assert tune(output) == 0
    return output


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "tune"))


def rows(output: Path) -> pd.DataFrame:
    frame = pd.read_parquet(output / "results")
    return frame.sort_values(["recipe", "class_index"], ignore_index=True)


def files(output: Path) -> dict[str, int]:
    """The files of results and images, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in output.glob("*/*.parquet")}


@pytest.mark.long
def test_each_configuration_is_committed_class_by_class(finished: Path) -> None:
    frame = rows(finished)
    assert frame["recipe"].nunique() == 3
    assert set(frame.groupby("recipe")["class_index"].apply(tuple)) == {tuple(range(8))}
    assert set(frame["sweep"]) == {"tune_recipe"}
    assert set(frame["judge_top1"][0]) == {"efficientnet_lite1"}
    assert len(list(finished.glob("results/*.parquet"))) == 6
    checked = verify(RunDirectory(finished))
    assert (checked.problems, checked.num_rows, checked.num_images) == ([], 24, 24)
    assert (finished / "_SUCCESS").exists()


@pytest.mark.long
def test_a_row_says_which_settings_made_it(finished: Path) -> None:
    for name, settings, num_steps in rows(finished)[["recipe", "settings", "num_steps"]].itertuples(
        index=False
    ):
        made_by = PyramidSettings(**json.loads(settings))
        assert name == f"tuned-{settings_digest(made_by)}"
        assert num_steps == made_by.num_steps


@pytest.mark.long
def test_all_trials_take_the_classes_in_the_same_chunks(finished: Path) -> None:
    chunks = rows(finished).groupby(["recipe", "chunk"])["class_index"].apply(tuple).unstack()
    assert [len(chunk) for chunk in chunks.iloc[0]] == [4, 4]
    assert (chunks == chunks.iloc[0]).all(axis=None)


@pytest.mark.long
def test_the_finished_search_again_computes_nothing_and_prints_the_same(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(finished)
    assert tune(finished) == 0
    assert files(finished) == before
    printed = capsys.readouterr().out
    assert "The best of 3 configurations, by efficientnet_lite1:" in printed
    assert f"--recipes {finished}/best_recipe.yaml" in printed


@pytest.mark.long
def test_a_search_without_its_last_word_reads_back_what_is_committed(copied: Path) -> None:
    (copied / "_SUCCESS").unlink()
    before = files(copied)
    assert tune(copied) == 0
    assert files(copied) == before
    assert (copied / "_SUCCESS").exists()


@pytest.mark.long
def test_a_larger_search_keeps_the_configurations_of_the_smaller(copied: Path) -> None:
    before = files(copied)
    assert tune(copied, "--num-samples", "4") == 0
    assert files(copied).items() >= before.items()
    assert rows(copied)["recipe"].nunique() == 4
    assert len(json.loads((copied / "sweep.json").read_text())["blocks"]) == 2


@pytest.mark.long
def test_a_trial_that_fails_is_recorded_and_tried_again_by_the_next_command(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = next(copied.glob("results/*-chunk1-*.parquet"))
    lost.unlink()
    lost.mkdir()  # nothing can be committed under that name
    (copied / "_SUCCESS").unlink()
    assert tune(copied, "--max-attempts", "2") == 1
    assert [path.stem for path in copied.glob("failures/*.json")] == [lost.stem]
    failure = json.loads((copied / "failures" / f"{lost.stem}.json").read_text())
    assert failure["attempts"] == 2
    assert "sweeps/tune/trial.py" in failure["traceback"]
    assert failure["traceback"].strip().endswith(f"AssertionError: {lost.stem} is committed")
    assert not (copied / "_SUCCESS").exists()
    assert "1 configurations failed; see" in capsys.readouterr().err
    assert json.loads((copied / "progress.json").read_text())["committed_shards"] == 5
    lost.rmdir()
    assert tune(copied) == 0
    assert lost.is_file()
    assert not list(copied.glob("failures/*.json"))
    assert verify(RunDirectory(copied)).num_rows == 24


@pytest.mark.long
def test_time_that_is_up_leaves_a_search_that_continues(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied / "results")
    (copied / "_SUCCESS").unlink()
    assert tune(copied, "--time-budget", "0.001") == 0
    assert "the same command continues" in capsys.readouterr().err
    assert not (copied / "_SUCCESS").exists()


@pytest.mark.long
def test_the_best_recipe_is_a_file_that_generates(finished: Path, tmp_path: Path) -> None:
    best = finished / "best_recipe.yaml"
    settings = PyramidSettings(**yaml.safe_load(best.read_text()))
    arguments = [
        "--output",
        str(tmp_path),
        "--recipes",
        f"plain,{best}",
        "--classes",
        "3,4",
        "--num-steps",
        "2",
    ]
    arguments += ["--image-size", "64", "--judges", "none", "--num-workers", "1", "--batch-size", "4"]
    generate = lambda options: run_sweep(generation_sweep(options), options)  # noqa: E731
    assert run_command(GenerateOptions, generate, arguments) == 0
    made = pd.read_parquet(tmp_path / "results")
    assert set(made["recipe"]) == {"plain", f"best_recipe-{settings_digest(settings)}"}
    assert f"tuned-{settings_digest(settings)}" in set(rows(finished)["recipe"])


@pytest.mark.long
def test_a_recipe_that_changed_its_meaning_is_refused(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((copied / "sweep.json").read_text())
    name = next(iter(record["definitions"]))
    record["definitions"][name] = "0" * 16
    (copied / "sweep.json").write_text(json.dumps(record))
    assert tune(copied) == 2
    error = capsys.readouterr().err
    assert f"error: {name}: its definition has changed since the directory was made" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--parameters", "step_size,colour"],
            "parameters: unknown name 'colour'; accepted: names separated",
        ),
        (["--parameters", "num_steps"], "parameters: unknown name 'num_steps'"),
        (["--base", "blur"], "base: unknown recipe 'blur'; accepted: default, fast, or a .yaml file"),
        (["--base", "nowhere.yaml"], "nowhere.yaml"),
        (["--judges", "none"], "judges: 'none' leaves no objective"),
        (["--judges", "efficientnet_lite0"], "judges: 'efficientnet_lite0' makes the images"),
        (["--judges", "lite1"], "lite1"),
        (["--classes", "990-1000"], "classes: '990-1000' is past the last, 999"),
        (["--num-samples", "0"], "num_samples: 0 is not accepted"),
        (["--time-budget", "0"], "time_budget: 0.0 is not accepted"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(tmp_path / "tune", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "tune").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-steps", "8"], "base: the directory was made with"),
        (["--seed", "1"], "seed: the directory was made with 0, this command asks for 1"),
        (["--shard-size", "8"], "shard_size: the directory was made with 4, this command asks for 8"),
        (["--parameters", "noise"], "parameters: the directory was made with"),
    ],
)
@pytest.mark.long
def test_another_search_in_the_same_directory_is_refused(
    options: list[str], message: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(finished, *options) == 2
    assert message in capsys.readouterr().err


def test_the_plan_is_a_bound_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(tmp_path / "tune", "--plan") == 0
    printed = capsys.readouterr().out
    assert "shards: 6, of which 6 remain" in printed
    assert "all of this is a bound" in printed
    assert not (tmp_path / "tune").exists()


def start(output: Path) -> subprocess.Popen[str]:
    """The command in a process of its own, once its first chunk is committed."""
    command = [sys.executable, str(SCRIPT), *TINY, "--output", str(output), "--address", "local"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    while not list(output.glob("results/*.parquet")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.long
def test_a_killed_search_completes_with_the_rows_of_an_undisturbed_one(
    finished: Path, tmp_path: Path
) -> None:
    output = tmp_path / "tune"
    with start(output) as process:
        os.kill(process.pid, signal.SIGKILL)
    before = set(files(output))
    assert len(before) < 12  # six of results, six of images
    assert tune(output) == 0
    assert before < set(files(output))
    changing = ["attempt", "image_file", "seconds"]
    pd.testing.assert_frame_equal(rows(output).drop(columns=changing), rows(finished).drop(columns=changing))
    assert verify(RunDirectory(output)).problems == []


@pytest.mark.long
def test_an_interrupted_search_says_how_to_resume(tmp_path: Path) -> None:
    output = tmp_path / "tune"
    with start(output) as process:
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command continues: python" in error
    assert "Traceback" not in error
    assert not (output / "_SUCCESS").exists()
