"""Confusion under attack: each image in one cell, whatever the classes are called."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from analysis import load
from analysis.attacks import confusion as module
from analysis.attacks.confusion import confusion, num_panels_across

MakeRun = Callable[..., Path]


def to_seven(method: str, index: int, epsilon: float, clean: int) -> int:
    """Image 0, of class 0, is taken for class 7, which no image has."""
    return 7 if index == 0 and epsilon > 0 else clean


def names_of_rows(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def names_of_columns(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def test_counts_and_shares_of_what_each_label_is_taken_for(make_attack_run: MakeRun) -> None:
    table = confusion(load.results(make_attack_run(num_images=9, predicted=to_seven)))
    assert list(table) == [
        "checkpoint",
        "attack",
        "epsilon",
        "label",
        "label_name",
        "prediction",
        "prediction_name",
        "count",
        "share",
    ]
    attacked = table[table["epsilon"] == 8 / 255]
    rows = attacked[["label", "prediction", "count", "share"]].to_numpy().tolist()
    assert rows == [[0, 0, 2, 2 / 3], [0, 7, 1, 1 / 3], [1, 1, 3, 1], [2, 2, 3, 1]]
    assert attacked["prediction_name"].tolist() == ["0 class 0", "7", "1 class 1", "2 class 2"]


def test_every_row_is_in_one_cell(make_attack_run: MakeRun) -> None:
    frame = load.results(
        make_attack_run(
            methods=("fgsm", "minimum_fgsm"),
            targets=(None, 2),
            checkpoints=("untrained", "final"),
            predicted=to_seven,
        )
    )
    table = confusion(frame)
    assert table["count"].sum() == len(frame)
    assert set(table["attack"]) == {"fgsm", "fgsm, targeted", "minimum_fgsm", "minimum_fgsm, targeted"}


def test_rows_of_minimum_methods_share_one_table(make_attack_run: MakeRun) -> None:
    found = {0: 0.01, 1: 0.02}
    table = confusion(load.results(make_attack_run(methods=("minimum_fgsm",), minimum=found.get)))
    assert table["epsilon"].isna().all()
    assert table["count"].sum() == 6


def test_after_rounding_the_other_prediction_counts(make_attack_run: MakeRun) -> None:
    frame = load.results(
        make_attack_run(predicted=to_seven, predicted_u8=lambda method, index, epsilon, clean: clean)
    )
    assert 7 in set(confusion(frame)["prediction"])
    assert 7 not in set(confusion(frame, rounded=True)["prediction"])


def test_a_panel_per_epsilon_with_counts_in_the_cells(make_attack_run: MakeRun) -> None:
    table = confusion(load.results(make_attack_run(num_images=9, predicted=to_seven)))
    figure = module.figure(table, title="title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["ε = 0", "ε = 2/255", "ε = 8/255"]
    clean, _, attacked = figure.axes
    assert names_of_rows(clean) == ["0 class 0", "1 class 1", "2 class 2"]
    assert names_of_columns(attacked) == ["0 class 0", "1 class 1", "2 class 2", "7"]
    # The panels share their axes, which are named at the left and below.
    assert names_of_rows(attacked) == []
    assert [text.get_text() for text in attacked.texts] == ["2", "1", "3", "3"]
    shares = np.asarray(attacked.images[0].get_array())
    assert shares.tolist() == [[2 / 3, 0, 0, 1 / 3], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert np.asarray(clean.images[0].get_array())[:, :3].tolist() == np.eye(3).tolist()


def test_many_classes_are_drawn_without_numbers(make_attack_run: MakeRun, tmp_path: Path) -> None:
    run = make_attack_run(num_images=90, num_classes=90, shard_size=90, epsilons=(0.0,))
    figure = module.figure(confusion(load.results(run)), title="title")
    assert not figure.axes[0].texts
    assert names_of_rows(figure.axes[0])[:2] == ["0 class 0", "3 class 3"]
    figure.savefig(tmp_path / "figure.png")
    assert num_panels_across(90) == 1


def test_hostile_class_names_are_plain_text(make_attack_run: MakeRun, tmp_path: Path) -> None:
    names = ["$x^2$ \\frac{", "W" * 300, "שלום"]
    figure = module.figure(
        confusion(load.results(make_attack_run(name=lambda index: names[index]))), title="t"
    )
    figure.savefig(tmp_path / "figure.png")
    assert names_of_rows(figure.axes[0])[0] == "0 $x^2$ \\frac{"
    assert all(text.get_window_extent().x0 >= 0 for text in figure.axes[0].get_yticklabels())


def test_rows_of_another_sweep_are_refused(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="'generate'"):
        confusion(load.results(make_run()))


def test_command_line_writes_the_table_and_a_page_per_attack(
    make_attack_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_attack_run(methods=("fgsm", "minimum_fgsm"), epsilons=[index / 255 for index in range(13)])
    module.main([str(run), "--output", str(tmp_path / "figures"), "--rounded"])
    names = [Path(path).name for path in capsys.readouterr().out.splitlines()]
    assert names[:2] == ["confusion.csv", "confusion.parquet"]
    assert "confusion-final-fgsm-001.png" in names
    assert "confusion-final-minimum_fgsm-001.png" in names
    assert pd.read_csv(tmp_path / "figures" / "confusion.csv")["count"].sum() == 14 * 6
