"""The worst case over attacks against tables computed by hand: which images count, who did it, out of whom."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import load, result_files
from analysis.attacks import outcomes as image_outcomes
from analysis.attacks.asked import without_norm
from analysis.attacks.norms import NAMES
from analysis.attacks.outcomes import outcomes_of, read_outcomes
from analysis.attacks.worst_case import ANY, image_tables, main, notes, summary, worst_case_table

MakeRun = Callable[..., Path]
DescribeRun = Callable[..., None]

SMALL, LARGE = 2 / 255, 8 / 255

# Six images, labels 0 1 2 0 1 2; image 5 is taken for 0 to begin with. What each method moves to another class at
# 8/255; at 2/255 only image 0 by pgd. The minimum of image 3 is 4/255, that of image 5 is 0, others have none.
MOVES = {"fgsm": {0, 1}, "pgd": {1, 2}}
MINIMA = {3: 4 / 255, 5: 0.0}


def predicted(method: str, index: int, epsilon: float, clean: int) -> int:
    if method == "minimum_fgsm":
        return clean if index not in MINIMA else (index + 1) % 3
    hit = index in MOVES[method] if epsilon >= LARGE else epsilon > 0 and method == "pgd" and index == 0
    return (index + 1) % 3 if hit else clean


SIX: dict[str, Any] = {
    "methods": ("pgd", "fgsm", "minimum_fgsm"),
    "clean": lambda index, label: 0 if index == 5 else label,
    "predicted": predicted,
    "minimum": MINIMA.get,
}
BLOCKS = [{"axes": {"method": ["fgsm", "pgd", "minimum_fgsm"], "checkpoint": ["final"]}}]


@pytest.fixture
def run(make_attack_run: MakeRun, describe_run: DescribeRun) -> Path:
    """A run whose sweep names fgsm before pgd, though its rows come the other way round."""
    made = make_attack_run(**SIX)
    describe_run(made, blocks=BLOCKS)
    return made


def at(table: pd.DataFrame, epsilon: float, method: str = ANY, denominator: str = "all") -> pd.Series:
    same = (table["epsilon"] == epsilon) & (table["method"] == method) & (table["denominator"] == denominator)
    return table[same].iloc[0]


@pytest.mark.parametrize(
    ("epsilon", "denominator", "succeeded", "count"),
    [
        (0.0, "all", 1, 6),
        (0.0, "initially_correct", 0, 5),
        (SMALL, "all", 2, 6),
        (SMALL, "initially_correct", 1, 5),
        # Images 0 and 1 by fgsm, 2 by pgd, 3 by its minimum, and 5, which was wrong already.
        (LARGE, "all", 5, 6),
        (LARGE, "initially_correct", 4, 5),
    ],
)
def test_an_image_counts_once_however_many_methods_mislead_it(
    run: Path, epsilon: float, denominator: str, succeeded: int, count: int
) -> None:
    row = at(worst_case_table(read_outcomes(run), run), epsilon, denominator=denominator)
    assert (row["num_succeeded"], row["count"], row["rate"]) == (succeeded, count, succeeded / count)
    assert (row["num_methods"], row["num_lacking"]) == (3, 0)


def test_robust_accuracy_is_of_images_right_to_begin_with_among_all(run: Path) -> None:
    table = worst_case_table(read_outcomes(run), run)
    assert [at(table, each)["robust_accuracy"] for each in (0.0, SMALL, LARGE)] == [5 / 6, 4 / 6, 1 / 6]
    assert at(table, LARGE, "fgsm")["robust_accuracy"] == 3 / 6


def test_an_image_is_credited_to_the_first_method_in_the_order_of_the_sweep(run: Path) -> None:
    table = worst_case_table(read_outcomes(run), run)
    numbers = {
        method: tuple(at(table, LARGE, method)[["num_succeeded", "num_first", "num_only"]])
        for method in ("fgsm", "pgd", "minimum_fgsm")
    }
    # Image 5 is misled by all three as it is, image 1 by fgsm and pgd.
    assert numbers == {"fgsm": (3, 3, 1), "pgd": (3, 1, 1), "minimum_fgsm": (2, 1, 1)}


def test_each_image_names_who_did_it(run: Path) -> None:
    images = pd.concat(image_tables(read_outcomes(run), run))
    large = images[images["epsilon"] == LARGE].set_index("image_index")
    assert large["method"].fillna("none").tolist() == ["fgsm", "fgsm", "pgd", "minimum_fgsm", "none", "fgsm"]
    assert large["num_methods"].tolist() == [1, 2, 1, 1, 0, 3]
    assert large["initially_correct"].tolist() == [True] * 5 + [False]
    assert len(images) == 3 * 6


def test_only_images_that_every_method_has_count_and_what_lacks_is_said(run: Path) -> None:
    frame = load.results(run)
    frame = frame[(frame["method"] != "pgd") | (frame["image_index"] < 2)]
    outcomes = outcomes_of([frame])
    table = worst_case_table(outcomes, run)
    row = at(table, LARGE)
    assert (row["num_succeeded"], row["count"], row["num_lacking"]) == (2, 2, 4)
    (line,) = [line for line in notes(table, outcomes, run) if "lack" in line]
    assert line == (
        "At 3 of 3 ε, images lack a row of some method and are left out; most at "
        f"ε = 0 in {NAMES['linf']} on final: 4 of 6."
    )


def test_a_method_without_any_row_is_named(run: Path, describe_run: DescribeRun) -> None:
    describe_run(run, blocks=[{"axes": {"method": ["fgsm", "pgd", "bim"], "checkpoint": ["final"]}}])
    outcomes = read_outcomes(run)
    table = worst_case_table(outcomes, run)
    assert "Without any row yet, and so left out: bim." in notes(table, outcomes, run)


def test_a_method_asked_for_at_an_epsilon_is_waited_for_there(run: Path, describe_run: DescribeRun) -> None:
    axes = {"checkpoint": ["final"], "target": ["untargeted"], "epsilon": [0.0, SMALL, LARGE]}
    describe_run(run, blocks=[{"axes": {**axes, "method": ["fgsm", "pgd"]}}])
    frame = load.results(run)
    # At 8/255, pgd has no row yet on any image.
    outcomes = outcomes_of([frame[(frame["method"] != "pgd") | (frame["epsilon"] < LARGE)]])
    row = at(worst_case_table(outcomes, run), LARGE)
    assert (row["num_methods"], row["count"], row["num_lacking"]) == (3, 0, 6)
    assert np.isnan(row["rate"])
    assert summary(worst_case_table(outcomes, run))["Success"].tolist()[-1] == "\N{EN DASH}"


def test_targeted_attacks_count_for_each_target_but_the_label(make_attack_run: MakeRun) -> None:
    run = make_attack_run(
        methods=("fgsm", "pgd"),
        targets=(0, 1),
        num_images=3,
        epsilons=(LARGE,),
        # fgsm takes image 2 to class 0, pgd takes each to class 1.
        predicted=lambda method, index, epsilon, clean: 1 if method == "pgd" else 0 if index == 2 else clean,
    )
    row = at(worst_case_table(read_outcomes(run), run), LARGE)
    # Pairs of image and target: (1, 0), (2, 0), (0, 1), (2, 1); fgsm reaches (2, 0), pgd (0, 1) and (2, 1).
    assert (row["aim"], row["num_succeeded"], row["count"]) == ("targeted", 3, 4)
    assert np.isnan(row["robust_accuracy"])


def test_the_same_number_of_an_image_in_two_splits_is_two_images(run: Path) -> None:
    frame = load.results(run)
    other = frame.assign(
        split="train", adversarial_prediction=frame["label"], clean_prediction=frame["label"]
    )
    other["epsilon"] = other["epsilon"].where(other["method"] != "minimum_fgsm")
    row = at(worst_case_table(outcomes_of([frame, other]), run), LARGE)
    assert (row["num_succeeded"], row["count"]) == (5, 12)


def test_norms_are_kept_apart_and_found_from_the_distances(make_attack_run: MakeRun) -> None:
    run = make_attack_run(methods=("fgsm", "mine.py:a", "mine.py:b", "outside"), num_images=3)
    frame = load.results(run)
    epsilon = frame["epsilon"]
    distances = {"mine.py:a": (0.2, 1, 9), "mine.py:b": (0.1, 0.5, 1), "outside": (2, 56, 1000)}
    for method, ratios in distances.items():
        for norm, ratio in zip(("linf", "l2", "l1"), ratios, strict=True):
            frame[norm] = frame[norm].where(frame["method"] != method, ratio * epsilon)
    outcomes = outcomes_of([frame])
    norms = [outcomes.norms.of(each) for each in ("fgsm", *distances)]
    assert norms == ["linf", "l2", "l1", None]
    assert without_norm(outcomes, run) == ["outside"]
    table = worst_case_table(outcomes, run)
    assert set(zip(table["norm"], table["num_methods"], strict=True)) == {("linf", 1), ("l2", 1), ("l1", 1)}


def test_a_run_older_than_the_column_l1_has_norms(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(num_images=3)).assign(l1=None)
    assert outcomes_of([frame]).norms.of("fgsm") == "linf"


def test_portions_give_what_the_whole_gives(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = worst_case_table(read_outcomes(run), run)
    monkeypatch.setattr(result_files, "_PORTION_ROWS", 3)
    monkeypatch.setattr(result_files, "_NUM_RESULT_READERS", 1)
    pd.testing.assert_frame_equal(worst_case_table(read_outcomes(run), run), whole)


def test_an_outcome_takes_a_byte(run: Path) -> None:
    outcomes = read_outcomes(run)
    grid = [each for each in outcomes.attacks if each.epsilon is not None]
    assert sum(outcomes.outcomes(each).nbytes for each in grid) == 2 * 3 * 6
    assert image_outcomes.NEEDED[-3:] == ("l1", "l2", "linf")


@pytest.mark.parametrize(
    ("kind", "start"), [("text", "Checkpoint"), ("markdown", "| Checkpoint |"), ("latex", "\\begin")]
)
def test_the_command_writes_tables_and_prints_one(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    start: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("analysis.attacks.worst_case.save_pages", lambda figures, folder: iter(()))
    main([str(run), "--output", str(tmp_path / "out"), "--format", kind])
    assert capsys.readouterr().out.strip().startswith(start)
    written = pd.read_parquet(tmp_path / "out" / "worst-case.parquet")
    pd.testing.assert_frame_equal(written, worst_case_table(read_outcomes(run), run))
    assert len(pd.read_csv(tmp_path / "out" / "worst-case-images.csv")) == 18


def test_a_run_of_minima_alone_has_no_worst_case(make_attack_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no attack at a given ε with a norm"):
        main([str(make_attack_run(methods=("minimum_fgsm",))), "--output", str(tmp_path / "out")])
