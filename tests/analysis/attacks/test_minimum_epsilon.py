"""The distribution of the minimum ε: every image counts, also one for which none was found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import load
from analysis.attacks import minimum_epsilon
from analysis.attacks.minimum_epsilon import (
    class_figure,
    distribution,
    epsilon_limits,
    quartiles,
)

MakeRun = Callable[..., Path]

# Images 0 to 7 of classes 0 1 0 1 ...; image 0 is misclassified as it is, nothing is found for 3, 5 and 7.
MINIMA = {0: 0.0, 1: 0.01, 2: 0.02, 4: 0.02, 6: 0.04}
EIGHT: dict[str, Any] = {
    "num_images": 8,
    "num_classes": 2,
    "methods": ("fgsm", "minimum_fgsm"),
    "minimum": MINIMA.get,
    "clean": lambda index, label: label if index else 1,
}


def test_shares_are_of_all_images_those_without_a_minimum_too(make_attack_run: MakeRun) -> None:
    table = distribution(load.results(make_attack_run(**EIGHT)))
    assert list(table) == ["checkpoint", "attack", "epsilon", "rate", "low", "high", "count"]
    assert table["epsilon"].tolist() == [0, 0.01, 0.02, 0.04]
    assert table["rate"].tolist() == [1 / 8, 2 / 8, 4 / 8, 5 / 8]
    assert table["count"].tolist() == [8] * 4
    # Wilson for 4 of 8, by hand: (4 + z²/2 ± z √(2 + z²/4)) / (8 + z²) with z = 1.95996.
    assert (round(table["low"][2], 4), round(table["high"][2], 4)) == (0.2152, 0.7848)


def test_among_the_images_that_were_right_none_has_the_minimum_zero(make_attack_run: MakeRun) -> None:
    table = distribution(load.results(make_attack_run(**EIGHT)), "initially_correct")
    assert table["epsilon"].tolist() == [0, 0.01, 0.02, 0.04]
    assert table["rate"].tolist() == [0, 1 / 7, 3 / 7, 4 / 7]


def test_an_attack_that_never_succeeds_stays_in_the_table(make_attack_run: MakeRun) -> None:
    run = make_attack_run(methods=("minimum_fgsm",), minimum=lambda index: None)
    table = distribution(load.results(run))
    assert table[["epsilon", "rate", "count"]].to_numpy().tolist() == [[0, 0, 6]]
    assert quartiles(load.results(run))["median"].isna().all()


def test_quartiles_are_the_smallest_epsilon_that_is_enough_for_that_share(make_attack_run: MakeRun) -> None:
    row = quartiles(load.results(make_attack_run(**EIGHT))).iloc[0]
    # In order: 0, 0.01, 0.02, 0.02, 0.04, none, none, none. The sixth of eight was not found.
    assert (row["lower_quartile"], row["median"]) == (0.01, 0.02)
    assert pd.isna(row["upper_quartile"])
    assert (row["found"], row["count"]) == (5 / 8, 8)


def test_quartiles_by_class(make_attack_run: MakeRun) -> None:
    table = quartiles(load.results(make_attack_run(**EIGHT)), ["label", "label_name"]).set_index("label")
    # Class 0: 0, 0.02, 0.02, 0.04. Class 1: 0.01 and three without.
    assert table.loc[0, ["lower_quartile", "median", "upper_quartile", "found"]].tolist() == [
        0,
        0.02,
        0.02,
        1,
    ]
    assert table.loc[1, "lower_quartile"] == 0.01
    assert table.loc[1, ["median", "upper_quartile"]].isna().all()
    assert table.loc[1, "found"] == 1 / 4


def test_images_of_the_target_class_do_not_count(make_attack_run: MakeRun) -> None:
    table = distribution(load.results(make_attack_run(**EIGHT, targets=(0,))))
    assert table["attack"].unique().tolist() == ["minimum_fgsm, targeted"]
    assert table[["epsilon", "rate", "count"]].to_numpy().tolist() == [[0, 0, 4], [0.01, 1 / 4, 4]]


def test_a_curve_ends_as_high_as_it_came_and_says_how_many_are_missing(make_attack_run: MakeRun) -> None:
    table = distribution(load.results(make_attack_run(**EIGHT, checkpoints=("untrained", "final"))))
    figure = minimum_epsilon.figure(table, title="title")
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["final", "untrained"]
    (line,) = figure.axes[0].lines
    assert line.get_label() == "minimum_fgsm: none found for 37.5%"
    assert line.get_drawstyle() == "steps-post"
    x, y = line.get_data()
    assert y[-1] == 5 / 8
    assert x[-1] > figure.axes[0].get_xlim()[1]


def test_a_bar_without_an_upper_quartile_runs_out_of_the_axis(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**EIGHT))
    figure = class_figure(quartiles(frame, ["label", "label_name"]), title="title")
    axes = figure.axes[0]
    bars = [bar.get_x() + bar.get_width() for bar in axes.patches]
    assert bars[0] == pytest.approx(0.02 * 255)
    assert bars[1] > axes.get_xlim()[1]
    # The median of class 1 was not found.
    assert len(axes.lines) == 1


def test_the_axis_is_not_stretched_by_a_few_tiny_minima() -> None:
    low, high = epsilon_limits(pd.Series([1e-9] + [0.01] * 999 + [0.1]))
    assert (low, high) == (0.01, 0.1)
    assert epsilon_limits(pd.Series([0.0, 0.0])) == (1 / 255, 2 / 255)


def test_a_mistake_names_what_would_be_accepted(make_attack_run: MakeRun, make_run: MakeRun) -> None:
    frame = load.results(make_attack_run(methods=("bim", "fgsm")))
    with pytest.raises(ValueError, match="method of the rows is bim, fgsm: a minimum ε needs minimum_fgsm"):
        distribution(frame)
    frame = load.results(make_attack_run("other", methods=("minimum_fgsm",)))
    with pytest.raises(ValueError, match="by names 'clas': choose from"):
        quartiles(frame, ["clas"])
    with pytest.raises(ValueError, match="denominator is 'none': choose from all, initially_correct"):
        distribution(frame, "none")
    with pytest.raises(ValueError, match="'generate'"):
        distribution(load.results(make_run()))


def test_command_line_writes_tables_and_pictures(
    make_attack_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    minimum_epsilon.main([str(make_attack_run(**EIGHT)), "--output", str(tmp_path / "figures")])
    assert [Path(path).name for path in capsys.readouterr().out.splitlines()] == [
        "minimum-epsilon.csv",
        "minimum-epsilon.parquet",
        "minimum-epsilon-quartiles.csv",
        "minimum-epsilon-quartiles.parquet",
        "minimum-epsilon-classes.csv",
        "minimum-epsilon-classes.parquet",
        "minimum-epsilon.png",
        "minimum-epsilon-classes-final-minimum_fgsm-001.png",
    ]
    assert len(pd.read_csv(tmp_path / "figures" / "minimum-epsilon-classes.csv")) == 2
