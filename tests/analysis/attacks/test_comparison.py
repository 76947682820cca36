"""Two runs, methods or checkpoints, image by image, against counts by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.attacks.comparison import compare, compare_runs, main
from analysis.attacks.outcomes import read_outcomes
from analysis.attacks.pairing import Side, comparable
from analysis.paired import mcnemar, paired_difference
from analysis.run import open_run

MakeRun = Callable[..., Path]
DescribeRun = Callable[..., None]

EPSILON = 8 / 255
CELLS = ["both", "only_first", "only_second", "neither"]


def misled(*indices: int) -> Callable[[str, int, float, int], int]:
    return lambda method, index, epsilon, clean: (clean + 1) % 3 if epsilon and index in indices else clean


def row(table: pd.DataFrame, denominator: str = "all", epsilon: float = EPSILON) -> dict[str, Any]:
    (found,) = table[(table["denominator"] == denominator) & (table["epsilon"] == epsilon)].to_dict("records")
    return found


@pytest.fixture
def runs(make_attack_run: MakeRun) -> tuple[Path, Path]:
    """The first misleads images 0 to 3, the second 2 to 4 of six; the second has image 0 wrong at once."""
    first = make_attack_run("first", num_images=8, predicted=misled(0, 1, 2, 3))
    second = make_attack_run(
        "second",
        num_images=6,
        clean=lambda index, label: label + 1 if index == 0 else label,
        predicted=misled(2, 3, 4),
    )
    return first, second


def test_images_are_paired(runs: tuple[Path, Path]) -> None:
    table = compare_runs(*map(open_run, runs))
    every, right = row(table), row(table, "initially_correct")
    # Image 0 is misled by the first, and wrong in the second from the start.
    assert [every[name] for name in CELLS] == [3, 1, 1, 1]
    assert [right[name] for name in CELLS] == [2, 1, 1, 1]
    assert (every["first_rate"], every["second_rate"]) == (4 / 6, 4 / 6)
    assert (right["count"], every["count"]) == (5, 6)
    assert (right["difference"], right["low"], right["high"]) == paired_difference(2, 1, 1, 1)
    assert (right["p_exact"], right["p_mid"]) == mcnemar(1, 1)


def test_two_methods_of_one_run_are_compared(make_attack_run: MakeRun) -> None:
    run = make_attack_run(
        methods=("fgsm", "pgd"),
        predicted=lambda method, index, epsilon, clean: (
            (clean + 1) % 3 if epsilon and (index < 2 or method == "pgd") else clean
        ),
    )
    outcomes = read_outcomes(run)
    sides = (Side(name=name, outcomes=outcomes, method=name) for name in ("fgsm", "pgd"))
    found = row(compare(*sides))
    assert [found[name] for name in CELLS] == [2, 0, 4, 0]
    assert (found["attack"], found["norm"]) == ("fgsm and pgd", "linf")


def test_a_minimum_is_compared_at_each_epsilon_of_the_other(make_attack_run: MakeRun) -> None:
    run = make_attack_run(
        methods=("fgsm", "minimum_fgsm"),
        minimum=lambda index: 0.02 if index < 4 else None,
        predicted=lambda method, index, epsilon, clean: (
            (clean + 1) % 3 if epsilon > 0 and index < 2 else clean
        ),
    )
    outcomes = read_outcomes(run)
    table = compare(*(Side(name=name, outcomes=outcomes, method=name) for name in ("fgsm", "minimum_fgsm")))
    assert [row(table)[name] for name in CELLS] == [2, 0, 2, 2]
    assert [row(table, epsilon=2 / 255)[name] for name in CELLS] == [0, 2, 0, 4]


def test_two_checkpoints_of_one_run_are_compared(make_attack_run: MakeRun) -> None:
    run = make_attack_run(checkpoints=("untrained", "trained"), predicted=misled(0))
    outcomes = read_outcomes(run)
    table = compare(
        *(Side(name=name, outcomes=outcomes, checkpoint=name) for name in ("untrained", "trained"))
    )
    assert row(table)["both"] == 1
    assert row(table)["checkpoint"] == "untrained and trained"


def test_targets_are_taken_together_and_images_of_the_target_do_not_count(make_attack_run: MakeRun) -> None:
    runs = [open_run(make_attack_run(name, targets=(0, 1), num_images=3)) for name in ("a", "b")]
    found = row(compare_runs(*runs))
    assert (found["count"], found["attack"]) == (4, "fgsm, targeted")


def test_checkpoints_of_several_are_paired_by_name(make_attack_run: MakeRun) -> None:
    runs = [
        open_run(make_attack_run("a", checkpoints=("s1", "s2"), predicted=misled(0))),
        open_run(make_attack_run("b", checkpoints=("s2", "s3"))),
    ]
    table = compare_runs(*runs)
    assert set(table["checkpoint"]) == {"s2"}


def test_runs_on_other_images_are_refused(
    runs: tuple[Path, Path], describe_run: DescribeRun, make_attack_run: MakeRun
) -> None:
    describe_run(runs[1], settings={"data_digest": "d2"})
    with pytest.raises(
        ValueError, match=r"data_digest of .*first is None, of .*second 'd2': give runs on the same"
    ):
        compare_runs(*map(open_run, runs))
    assert not comparable(*map(open_run, runs))
    other = make_attack_run("third", methods=("pgd",))
    with pytest.raises(ValueError, match="share no attack on the same image"):
        compare_runs(open_run(runs[0]), open_run(other))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "runs are 1: give two, or one with --methods or --checkpoints"),
        (["--methods", "fgsm"], "methods are fgsm of 1 runs: give two of one run"),
        (["--methods", "fgsm,bim"], "method is 'bim': choose from fgsm"),
        (["--methods", "a,b", "--checkpoints", "a,b"], "methods and checkpoints are both given"),
    ],
)
def test_a_command_that_names_no_two_sides_is_refused(
    runs: tuple[Path, Path], tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        main([str(runs[0]), *options, "--output", str(tmp_path / "out")])


def test_the_command_prints_the_table_and_writes_it(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*map(str, runs), "--output", str(tmp_path / "out"), "--format", "csv"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("Checkpoint,Attack,ε,Images,first,second,Difference")
    written = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert len(written) == 2 * 3
    assert (tmp_path / "out" / "comparison.png").exists()
    assert not np.isnan(written["p_mid"]).any()
