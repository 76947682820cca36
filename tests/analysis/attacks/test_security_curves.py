"""Robust accuracy in each norm, along training too, and medians of minima, against tables by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.attacks import along_training, security_curves
from analysis.attacks.norm_panels import CLEAN, WORST
from analysis.attacks.outcomes import ImageOutcomes, checkpoints_in_order, outcomes_of, read_outcomes
from analysis.attacks.security_curves import median_table, security_table

MakeRun = Callable[..., Path]
DescribeRun = Callable[..., None]

EPSILONS = (0.0, 2 / 255, 8 / 255)
# Eight images; image 7 is wrong to begin with. fgsm misleads images 0 and 1 at 8/255, pgd 1 and 2.
MINIMA = {0: 0.01, 1: 0.02, 2: 0.02, 3: 0.04, 7: 0.0}
EIGHT: dict[str, Any] = {
    "num_images": 8,
    "num_classes": 2,
    "methods": ("fgsm", "pgd", "minimum_fgsm"),
    "clean": lambda index, label: 1 - label if index == 7 else label,
    "minimum": MINIMA.get,
    "predicted": lambda method, index, epsilon, clean: (
        1 - clean
        if epsilon == EPSILONS[-1] and index in {"fgsm": (0, 1), "pgd": (1, 2)}.get(method, ())
        else clean
    ),
}


def rates(table: pd.DataFrame, attack: str) -> dict[float, float]:
    curve = table[table["attack"] == attack]
    return dict(zip(curve["epsilon"], curve["rate"], strict=True))


@pytest.fixture
def run(make_attack_run: MakeRun) -> Path:
    return make_attack_run(**EIGHT)


def test_robust_accuracy_is_of_all_images(run: Path) -> None:
    table = security_table(read_outcomes(run), run)
    assert rates(table, "fgsm") == {0: 7 / 8, 2 / 255: 7 / 8, 8 / 255: 5 / 8}
    assert rates(table, CLEAN) == {0: 7 / 8}
    # The minima of images 0, 1 and 2 are below 8/255 = 0.031 too.
    assert rates(table, WORST) == {0: 7 / 8, 2 / 255: 7 / 8, 8 / 255: 4 / 8}
    assert set(table["count"]) == {8}


def test_minima_are_an_empirical_distribution(run: Path) -> None:
    table = security_table(read_outcomes(run), run)
    assert rates(table, "minimum_fgsm") == {0: 7 / 8, 0.01: 6 / 8, 0.02: 4 / 8, 0.04: 3 / 8}


def test_a_norm_of_one_attack_has_no_worst_case(make_attack_run: MakeRun) -> None:
    run = make_attack_run()
    assert set(security_table(read_outcomes(run), run)["attack"]) == {"fgsm", CLEAN}


def test_targeted_attacks_have_no_robust_accuracy(make_attack_run: MakeRun) -> None:
    run = make_attack_run(targets=(1,))
    assert security_table(read_outcomes(run), run).empty


def test_the_median_counts_images_without_a_minimum(run: Path) -> None:
    table = median_table(read_outcomes(run), run).set_index("denominator")
    # In order: 0, 0.01, 0.02, 0.02, 0.04, none three times; of the seven right ones: 0.01 to 0.04, none.
    assert table.loc["all", "median"] == 0.02
    assert table.loc["all", ["found", "count"]].tolist() == [5 / 8, 8]
    assert table.loc["initially_correct", "median"] == 0.04
    assert table.loc["initially_correct", ["found", "count"]].tolist() == [4 / 7, 7]
    assert table.loc["all", "low"] <= 0.02 <= table.loc["all", "high"]
    assert security_curves.minimum_text(np.inf, "linf") == "\N{EN DASH}"
    assert security_curves.minimum_text(0.5 / 255, "linf") == "0.50/255"


def test_a_median_is_infinite_where_more_than_half_have_none(make_attack_run: MakeRun) -> None:
    run = make_attack_run(methods=("minimum_fgsm",), minimum=lambda index: None)
    table = median_table(read_outcomes(run), run)
    assert np.isinf(table["median"]).all()


def test_the_seed_alone_decides_the_interval(run: Path) -> None:
    outcomes = read_outcomes(run)
    pd.testing.assert_frame_equal(median_table(outcomes, run, seed=3), median_table(outcomes, run, seed=3))


def test_the_commands_write_their_files(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security_curves, "save_pages", lambda figures, folder: [name for name, _ in figures])
    security_curves.main([str(run), "--output", str(tmp_path / "out")])
    assert "security-curves" in capsys.readouterr().out.splitlines()
    assert len(pd.read_csv(tmp_path / "out" / "median-minimum-epsilon.csv")) == 2


def test_every_curve_of_a_norm_is_drawn_and_clean_accuracy_is_a_level(run: Path) -> None:
    table = security_table(read_outcomes(run), run)
    ((_, page),) = security_curves.figures(table, "six images")
    drawn = {line.get_label(): line for line in page.axes[0].lines}
    assert set(drawn) == {"fgsm", "pgd", "minimum_fgsm", WORST, CLEAN}
    assert set(drawn[CLEAN].get_ydata()) == {7 / 8}
    (group,) = security_curves.html(table)
    assert [entry.name for entry in group.legend if entry.dashed] == [WORST, CLEAN]


@pytest.fixture
def training(make_attack_run: MakeRun, describe_run: DescribeRun) -> tuple[Path, ImageOutcomes]:
    """Three checkpoints; the first has every second image wrong, and the last is misled on image 0 at 8/255."""
    run = make_attack_run(
        checkpoints=("step-10", "step-0", "step-20"),
        predicted=lambda method, index, epsilon, clean: 1 + index % 2 if epsilon and index == 0 else clean,
    )
    describe_run(run, blocks=[{"axes": {"method": ["fgsm"], "checkpoint": ["step-0", "step-10", "step-20"]}}])
    frame = load.results(run)
    wrong = (frame["checkpoint"] == "step-0") & (frame["image_index"] % 2 == 1)
    frame["clean_prediction"] = frame["clean_prediction"].where(~wrong, (frame["label"] + 1) % 3)
    return run, outcomes_of([frame])


def test_training_stands_in_the_order_of_the_sweep_beside_clean_accuracy(training) -> None:
    run, outcomes = training
    checkpoints = checkpoints_in_order(outcomes, run)
    assert checkpoints == ["step-0", "step-10", "step-20"]
    table = along_training.training_table(security_table(outcomes, run), checkpoints)
    clean = table[table["attack"] == CLEAN]
    assert clean["rate"].tolist() == [3 / 6, 1, 1]
    robust = table[(table["attack"] == "fgsm") & (table["epsilon"] == 8 / 255)]
    assert robust["place"].tolist() == [0, 1, 2]
    assert robust["rate"].tolist() == [2 / 6, 5 / 6, 5 / 6]


def test_training_is_drawn_on_the_page_as_in_the_figure(training) -> None:
    run, outcomes = training
    checkpoints = checkpoints_in_order(outcomes, run)
    table = along_training.training_table(security_table(outcomes, run), checkpoints)
    page = along_training.figure(table, checkpoints, title="t")
    (chart,) = along_training.html(table, checkpoints)
    assert [line.get_label() for line in page.axes[0].lines] == list(chart.names)
    assert chart.names == [CLEAN, "ε = 2/255", "ε = 8/255"]
    assert [tick.label for tick in chart.chart.x_ticks] == checkpoints
    assert "clean accuracy from 50.0 to 100.0 %" in chart.label


def test_an_attack_or_epsilon_that_no_row_has_is_refused(training) -> None:
    run, outcomes = training
    security = security_table(outcomes, run)
    with pytest.raises(ValueError, match="attack is 'pgd': choose from fgsm"):
        along_training.training_table(security, ["step-0"], attack="pgd")
    with pytest.raises(ValueError, match=r"epsilon is 0.5: choose from 0, 0.0078"):
        along_training.training_table(security, ["step-0"], epsilons=[0.5])
