from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.attribution.attributions import attribution_rows
from analysis.attribution.scores import attribution_scores, completeness_gaps, main, score_figure

MakeRun = Callable[..., Path]


def faithful(method: str, index: int) -> tuple[float, float]:
    """Deletion 0.1 … 0.4 and insertion 0.9 … 0.6 of the gradient; occlusion is constant."""
    return (0.1 * (index + 1), 1 - 0.1 * (index + 1)) if method == "gradient" else (0.5, 0.25)


def test_means_intervals_and_counts_by_method(make_attribute_run: MakeRun) -> None:
    rows = attribution_rows(make_attribute_run(images=range(4), scores=faithful))
    table = attribution_scores(rows).set_index(["method", "measure"])
    deletion = table.loc[("gradient", "deletion_score")]
    assert (round(deletion["mean"], 6), deletion["count"]) == (0.25, 4)
    # s = 0.1 · sqrt(5/3), t(3) = 3.182.
    assert deletion["high"] - deletion["mean"] == pytest.approx(3.182 * 0.1291 / 2, rel=0.002)
    assert table.loc[("gradient", "insertion_score"), "mean"] == pytest.approx(0.75)
    constant = table.loc[("occlusion", "insertion_score")]
    assert constant[["mean", "low", "high"]].tolist() == [0.25, 0.25, 0.25]


def test_gap_quantiles_are_of_the_methods_that_have_gaps(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(
        images=range(5), gap=lambda method, index: index - 3.0 if method == "occlusion" else None
    )
    table = completeness_gaps(attribution_rows(run)).set_index("quantile")
    assert set(table["method"]) == {"occlusion"}
    assert (table["count"] == 5).all()
    # Gaps -3, -2, -1, 0, 1; their sizes 0, 1, 1, 2, 3.
    assert table.loc[[0.25, 0.5, 0.75], "gap"].tolist() == [-2, -1, 0]
    assert table.loc[[0.25, 0.5, 0.75], "absolute_gap"].tolist() == [1, 1, 2]


def test_without_gaps_the_figure_has_two_panels_and_with_them_three(make_attribute_run: MakeRun) -> None:
    for number, gap in ((2, None), (3, 0.5)):
        run = make_attribute_run(f"run-{number}", gap=lambda method, index, gap=gap: gap)
        rows = attribution_rows(run)
        figure = score_figure(attribution_scores(rows), completeness_gaps(rows), title="title")
        assert len(figure.axes) == number


def test_the_figure_shows_the_means(make_attribute_run: MakeRun) -> None:
    rows = attribution_rows(make_attribute_run(images=range(4), scores=faithful))
    axes = score_figure(attribution_scores(rows), completeness_gaps(rows), title="title").axes[0]
    (dots,) = [line for line in axes.lines if line.get_marker() == "o"]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert dict(zip(names, np.round(dots.get_xdata(), 6), strict=True)) == {
        "occlusion": 0.5,
        "gradient": 0.25,
    }


def test_command_line_writes_tables_and_figure(
    make_attribute_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_attribute_run(gap=lambda method, index: 0.1 * index)
    main([str(run), "--output", str(tmp_path / "out"), "--methods", "gradient"])
    names = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    assert "attribution-scores.png" in names
    assert set(pd.read_csv(tmp_path / "out" / "attribution-scores.csv")["method"]) == {"gradient"}
    assert len(pd.read_csv(tmp_path / "out" / "completeness-gaps.csv")) == 5


def test_rows_of_another_sweep_are_refused(make_training_run: MakeRun, tmp_path: Path) -> None:
    run = make_training_run()
    with pytest.raises(ValueError, match="column 'completeness_gap' is not among"):
        attribution_scores(attribution_rows(run))
    with pytest.raises(ValueError, match="kind 'attribute_training'"):
        main([str(run), "--output", str(tmp_path)])
