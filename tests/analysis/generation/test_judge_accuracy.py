import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis import load
from analysis.command_line import exit_status
from analysis.generation.judge_accuracy import judge_accuracy, main

ROOT = Path(__file__).parents[3]

MakeRun = Callable[..., Path]

LITE2_MISSES_CLASS_0 = {"wrong": lambda judge, class_index, seed: judge == "lite2" and class_index == 0}


def test_rate_interval_and_count_per_judge_and_recipe(make_run: MakeRun) -> None:
    table = judge_accuracy(load.results(make_run(num_classes=5, seeds=(0, 1), **LITE2_MISSES_CLASS_0)))
    assert list(table) == ["judge", "is_judge", "recipe", "rate", "low", "high", "count"]
    row = table[(table["judge"] == "lite2") & (table["recipe"] == "plain")].iloc[0]
    # Wilson for 8 of 10, by hand: (8 + z²/2 ± z √(1.6 + z²/4)) / (10 + z²) with z = 1.95996.
    assert (row["rate"], row["count"]) == (0.8, 10)
    assert (round(row["low"], 4), round(row["high"], 4)) == (0.4902, 0.9433)


def test_the_generating_model_is_told_from_the_judges(make_run: MakeRun) -> None:
    table = judge_accuracy(load.results(make_run()), by=[])
    assert dict(zip(table["judge"], table["is_judge"], strict=True)) == {
        "lite1": True,
        "lite2": True,
        "lite0": False,
    }


def test_a_model_that_judges_itself_is_no_judge_and_counts_once(make_run: MakeRun) -> None:
    table = judge_accuracy(load.results(make_run(judges=("lite0", "lite1"))), by=[])
    own = table[table["judge"] == "lite0"]
    assert own["is_judge"].tolist() == [False]
    assert own["count"].tolist() == [12]


def test_top5_counts_its_own_verdicts(make_run: MakeRun) -> None:
    frame = load.results(make_run(**LITE2_MISSES_CLASS_0))
    frame["judge_top5_hit.lite2"] = True
    rates = judge_accuracy(frame, by=[], rank="top5").set_index("judge")["rate"]
    assert rates["lite2"] == 1
    assert judge_accuracy(frame, by=[]).set_index("judge")["rate"]["lite2"] == pytest.approx(2 / 3)


def test_groups_by_several_columns(make_run: MakeRun) -> None:
    frame = load.results(make_run(**LITE2_MISSES_CLASS_0))
    table = judge_accuracy(frame, by=["recipe", "class_index"]).set_index(["judge", "recipe", "class_index"])
    assert table.loc[("lite2", "plain", 0), "rate"] == 0
    assert table.loc[("lite2", "plain", 1), "rate"] == 1


def test_runs_with_different_judges_count_only_the_images_each_judge_saw(make_run: MakeRun) -> None:
    runs = [make_run("one", judges=("lite1",)), make_run("two", judges=("lite2",), num_classes=1)]
    table = judge_accuracy(pd.concat(map(load.results, runs), ignore_index=True), by=[])
    assert dict(zip(table["judge"], table["count"], strict=True)) == {"lite1": 12, "lite2": 4, "lite0": 16}


@pytest.mark.parametrize(("by", "rank", "named"), [(["epsilon"], "top1", "epsilon"), ([], "top3", "top3")])
def test_unknown_columns_and_ranks_are_named(make_run: MakeRun, by: list[str], rank: str, named: str) -> None:
    with pytest.raises(ValueError, match=f"'{named}': choose from"):
        judge_accuracy(load.results(make_run()), by, rank)


def test_command_line_prints_the_table_and_writes_it(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tables" / "accuracy.csv"
    main([str(make_run()), "--by", "recipe", "--output", str(output)])
    assert "lite1" in capsys.readouterr().out
    assert len(pd.read_csv(output)) == 6


def test_the_command_answers_a_mistake_with_one_line_and_status_2() -> None:
    command = [sys.executable, "-m", "analysis.generation.judge_accuracy", "missing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_an_unknown_column_is_one_line_and_status_2(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(make_run())
    assert exit_status(lambda: main([run, "--by", "epsilon"])) == 2
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
