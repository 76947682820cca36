"""Curves and class tables of attacks: the numbers behind them, and what is drawn of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis import load
from analysis.attacks import class_success
from analysis.attacks import curves as attack_curves
from analysis.attacks.class_success import class_table
from analysis.attacks.curves import curve_table, epsilon_range

MakeRun = Callable[..., Path]

EPSILONS = (0.0, 0.25 / 255, 2 / 255, 0.01, 64 / 255)
HOSTILE = ["W" * 300, "$x^2$ \\frac{", "שלום עולם"]


def panels(figure: Figure) -> list[str]:
    """The titles of the panels."""
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def one_in_two(method: str, index: int, epsilon: float, clean: int) -> int:
    """From 2/255 on, every other image is taken for class 9."""
    return 9 if epsilon >= 2 / 255 and index % 2 == 0 else clean


def test_the_table_holds_both_measures_under_both_denominators(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(predicted=one_in_two, clean=lambda index, label: 0))
    table = curve_table(frame).set_index(["measure", "denominator", "epsilon"])["rate"]
    # Labels 0 1 2 0 1 2, all predicted 0: images 0 and 3 are right, and 0, 2 and 4 are moved to class 9.
    assert table["accuracy", "all", 0] == pytest.approx(2 / 6)
    assert table["accuracy", "all", 8 / 255] == pytest.approx(1 / 6)
    assert table["success", "all", 8 / 255] == pytest.approx(5 / 6)
    assert table["accuracy", "initially_correct", 0] == 1
    assert table["success", "initially_correct", 8 / 255] == pytest.approx(1 / 2)
    against_clean = curve_table(frame, against="clean_prediction").set_index(
        ["measure", "denominator", "epsilon"]
    )
    assert against_clean["rate"]["success", "all", 8 / 255] == pytest.approx(3 / 6)


def test_a_panel_per_checkpoint_and_denominator_with_a_curve_per_attack(make_attack_run: MakeRun) -> None:
    run = make_attack_run(
        checkpoints=("untrained", "final"), methods=("fgsm", "bim"), targets=(None, 2), epsilons=EPSILONS
    )
    table = curve_table(load.results(run))
    accuracy = table[table["measure"] == "accuracy"]
    figure = attack_curves.figure(accuracy, panels="checkpoint", lines="attack", title="title")
    assert panels(figure) == [
        "final, among all images",
        "final, among images that were right to begin with",
        "untrained, among all images",
        "untrained, among images that were right to begin with",
    ]
    assert [line.get_label() for line in figure.axes[0].lines] == [
        "bim",
        "bim, targeted",
        "fgsm",
        "fgsm, targeted",
    ]


def test_a_curve_runs_through_the_rates_of_the_table(make_attack_run: MakeRun) -> None:
    table = curve_table(load.results(make_attack_run(predicted=one_in_two, epsilons=EPSILONS)))
    success = table[table["measure"] == "success"]
    figure = attack_curves.figure(success, panels="checkpoint", lines="attack", title="title")
    x, y = figure.axes[0].lines[0].get_data()
    assert np.allclose(x, np.array(EPSILONS) * 255)
    assert list(y) == [0, 0, 0.5, 0.5, 0.5]


def test_the_axis_has_ticks_in_steps_of_eight_bits_and_in_pixel_space(make_attack_run: MakeRun) -> None:
    table = curve_table(load.results(make_attack_run(epsilons=EPSILONS)))
    figure = attack_curves.figure(
        table[table["measure"] == "success"], panels="checkpoint", lines="attack", title=""
    )
    figure.canvas.draw()
    bottom, top = figure.axes[0], figure.axes[2]
    assert bottom.get_xscale() == "symlog"
    assert [label.get_text() for label in bottom.get_xticklabels()] == [
        "0",
        *["0.25", "0.5", "1", "2", "4", "8", "16", "32", "64"],
    ]
    assert [label.get_text() for label in top.get_xticklabels()] == ["0", "0.001", "0.01", "0.1"]
    # The same ε stands at the same place on both.
    place = bottom.transData.transform((0.01 * 255, 0))[0]
    assert place == pytest.approx(top.transData.transform((0.01, 0))[0])


def test_epsilon_zero_alone_can_be_drawn(make_attack_run: MakeRun, tmp_path: Path) -> None:
    table = curve_table(load.results(make_attack_run(epsilons=(0.0,))))
    assert epsilon_range(table["epsilon"]) == (1 / 255, 1 / 255)
    figure = attack_curves.figure(
        table[table["measure"] == "success"], panels="checkpoint", lines="attack", title=""
    )
    figure.savefig(tmp_path / "figure.png")


def test_minimum_methods_have_no_curve(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(methods=("minimum_fgsm",)))
    with pytest.raises(ValueError, match="no attack at a given ε"):
        curve_table(frame)


def test_success_by_class_and_epsilon(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(predicted=one_in_two, clean=lambda index, label: 0 if index else 1))
    table = class_table(frame).set_index(["label", "epsilon"])
    # Of class 0, image 3 alone was right, and it stays so; no image of class 1 was.
    assert (table.loc[(0, 8 / 255), "rate"], table.loc[(0, 8 / 255), "count"]) == (0, 1)
    assert table.loc[(1, 8 / 255), "count"] == 0
    everyone = class_table(frame, "all").set_index(["label", "epsilon"])["rate"]
    assert everyone[0, 8 / 255] == 0.5


def test_a_class_of_which_no_image_counts_is_left_open(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(clean=lambda index, label: 0))
    figure = class_success.figure(class_table(frame), title="title")
    # One row of numbers, that of class 0, for three ε.
    assert [text.get_text() for text in figure.axes[0].texts] == ["0"] * 3


def test_hostile_class_names_stay_inside_the_page_as_plain_text(
    make_attack_run: MakeRun, tmp_path: Path
) -> None:
    frame = load.results(make_attack_run(name=lambda index: HOSTILE[index]))
    figure = class_success.figure(class_table(frame), title=HOSTILE[0])
    figure.savefig(tmp_path / "figure.png")
    width, _ = figure.canvas.get_width_height()
    for text in [*figure.texts, *figure.axes[0].get_yticklabels()]:
        assert not text.get_parse_math()
        assert text.get_window_extent().x0 >= 0
        assert text.get_window_extent().x1 <= width


def test_command_lines_print_the_paths_of_tables_and_pictures(
    make_attack_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(make_attack_run(checkpoints=("untrained", "final"), methods=("fgsm", "minimum_fgsm")))
    attack_curves.main([run, "--output", str(tmp_path / "figures"), "--rounded"])
    class_success.main([run, "--output", str(tmp_path / "figures"), "--denominator", "all"])
    names = [Path(path).name for path in capsys.readouterr().out.splitlines()]
    assert names == [
        "attack-curves.csv",
        "attack-curves.parquet",
        "attack-curves-accuracy-by-attack.png",
        "attack-curves-accuracy-by-checkpoint.png",
        "attack-curves-success-by-attack.png",
        "attack-curves-success-by-checkpoint.png",
        "class-success.csv",
        "class-success.parquet",
        "class-success-final-fgsm-001.png",
        "class-success-untrained-fgsm-001.png",
    ]
    csv = pd.read_csv(tmp_path / "figures" / "attack-curves.csv")
    parquet = pd.read_parquet(tmp_path / "figures" / "attack-curves.parquet")
    assert csv["rate"].tolist() == parquet["rate"].tolist()
    for path in (tmp_path / "figures").glob("*.png"):
        with Image.open(path) as image:
            assert image.format == "PNG"


def test_the_same_results_give_the_same_picture(make_attack_run: MakeRun, tmp_path: Path) -> None:
    run = str(make_attack_run())
    for folder in ("one", "two"):
        attack_curves.main([run, "--output", str(tmp_path / folder)])
    name = "attack-curves-success-by-attack.png"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
