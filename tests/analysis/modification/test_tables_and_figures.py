"""Tables and figures of modified images: the size of the change by label and target, strips, the command."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.modification.__main__ import main
from analysis.modification.own_label import own_and_other
from analysis.modification.pairs import figure as pair_figure
from analysis.modification.pairs import modification_table
from analysis.modification.rows import load_rows
from analysis.modification.strips import strip_pages

MakeRun = Callable[..., Path]


def test_norm_at_the_first_hit_and_shares_by_label_and_target(make_modify_run: MakeRun) -> None:
    run = make_modify_run(
        images=range(16),
        l2=lambda index, target: None if index == 13 else index + 10.0 * target,
        prediction=lambda index, target: target if index < 8 else index % 4,
    )
    table = modification_table(load_rows(run)).set_index(["label", "target"])
    assert len(table) == 16
    # Label 1 has the images 1, 5, 9 and 13: norms 21, 25 and 29 towards class 2; the last was never taken for it,
    # and the third not in the end.
    cell = table.loc[(1, 2)]
    assert cell[["mean", "count", "num_images", "final"]].tolist() == [25, 3, 4, 3]
    assert cell[["reached", "kept"]].tolist() == [0.75, 0.5]
    assert cell["high"] - cell["mean"] == pytest.approx(4.303 * 4 / np.sqrt(3), rel=1e-3)
    assert (table["label_name"] == [f"class {label}" for label, _ in table.index]).all()
    assert table.loc[(1, 1), "kept"] == 1


def test_the_own_label_is_held_against_the_others_image_by_image(make_modify_run: MakeRun) -> None:
    run = make_modify_run(
        images=range(8), l2=lambda index, target: 0.5 if index % 4 == target else 2.0 + index
    )
    table = own_and_other(load_rows(run)).set_index(["measure", "towards"])
    assert table.loc["hit_l2", "mean"].tolist() == [0.5, 5.5, 5.0]
    # After all steps the change is as large for any target.
    assert table.loc["l2", "mean"].tolist() == [3, 3, 0]
    assert table["count"].tolist() == [8] * 6
    # The images 0 to 7: s = 2.449, t(7) = 2.365.
    high = table.loc[("hit_l2", "difference"), "high"]
    assert high - 5 == pytest.approx(2.365 * 2.4495 / np.sqrt(8), rel=1e-3)


def test_images_without_their_own_label_among_the_targets_are_left_out(make_modify_run: MakeRun) -> None:
    table = own_and_other(load_rows(make_modify_run(targets=(0, 2))))
    assert table["count"].tolist() == [2] * 6
    empty = own_and_other(load_rows(make_modify_run("other", images=(1, 3), targets=(0, 2))))
    assert empty["count"].tolist() == [0] * 6


def test_a_class_that_was_never_reached_has_no_norm_and_no_colour(make_modify_run: MakeRun) -> None:
    run = make_modify_run(l2=lambda index, target: None if target == 3 else 1.0)
    table = modification_table(load_rows(run)).set_index(["label", "target"])
    assert table.loc[(0, 3), ["reached", "count"]].tolist() == [0, 0]
    assert np.isnan(table.loc[(0, 3), "mean"])
    shares, norms = pair_figure(table.reset_index(), title="title").axes
    assert (len(norms.texts), len(shares.texts)) == (12, 16)
    nothing = load_rows(make_modify_run("never", l2=lambda index, target: None))
    assert not pair_figure(modification_table(nothing), title="title").axes[1].texts


def test_the_matrix_has_the_numbers_and_marks_the_own_labels(make_modify_run: MakeRun) -> None:
    table = modification_table(load_rows(make_modify_run(targets=(0, 1, 3))))
    shares, norms = pair_figure(table, title="title").axes
    assert [text.get_text() for text in norms.texts][:4] == ["0.10", "2.00", "2.00", "2.00"]
    assert {text.get_text() for text in shares.texts} == {"100"}
    # Labels 0 to 3 down, targets 0, 1 and 3 across: label 2 is no target.
    corners = [patch.get_xy() for patch in norms.patches]
    assert corners == [(-0.5, -0.5), (0.5, 0.5), (1.5, 2.5)]


def test_command_line_writes_tables_matrix_and_strips(
    make_modify_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_modify_run(images=range(8), prediction=lambda index, target: 3)
    main([str(run), "--output", str(tmp_path / "out"), "--num-images", "7"])
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names[-3:] == ["modifications.png", "modification-strips-001.png", "modification-strips-002.png"]
    assert len(pd.read_csv(tmp_path / "out" / "modifications.csv")) == 16


def test_strips_show_the_clean_image_and_each_target(make_modify_run: MakeRun, pixels: Callable) -> None:
    run = make_modify_run(images=range(2), targets=(0, 3), prediction=lambda index, target: 3)
    names = {index: f"class {index}" for index in range(4)}
    ((_, figure),) = strip_pages(run, load_rows(run), names, 1)
    shown = [np.asarray(image.get_array())[..., :1] for axes in figure.axes for image in axes.images]
    # The fixture draws the image of target t of image i from 100 · i + t, the clean one from 100 · i.
    for image, number in zip(shown, (0, 0, 3), strict=True):
        assert np.array_equal(image, pixels(number))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"clean", "class 3", "3.00, class 3"} <= set(texts)
    assert (texts.count("✓"), texts.count("✗")) == (2, 1)


def test_mistakes_are_named(make_modify_run: MakeRun, make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind 'generate': accepted: 'modify'"):
        main([str(make_run()), "--output", str(tmp_path)])
    with pytest.raises(ValueError, match="num_images is 0: give 1 or more"):
        main([str(make_modify_run()), "--output", str(tmp_path), "--num-images", "0"])
