"""All scores of a run by method, two methods side by side, and the table of what can be trusted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.attribution.attributions import attribution_rows, named_rows
from analysis.attribution.choice import Choice, choose
from analysis.attribution.method_scores import scores_by_method
from analysis.attribution.randomization import similarities
from analysis.attribution.score_table import (
    attribution_scores,
    completeness_gaps,
    paired_scores,
    path_steps,
)
from analysis.attribution.scores import main as scores_main
from analysis.attribution.scores import score_figure
from analysis.attribution.trust import main, trust_table
from analysis.intervals import wilson_interval

MakeRun = Callable[..., Path]

METHODS = ("gradient", "occlusion", "integrated_gradients")


def others(checkpoint: str, method: str, index: int) -> dict[str, Any]:
    """Scores that a later release knows: image 5 has a constant map under occlusion, image 0 has no box."""
    place = METHODS.index(method)
    constant = method == "occlusion" and index == 5
    return {
        "constant_map": constant,
        "deletion_score": None if constant else 0.1 * (1 + place),
        "infidelity": 10.0**index * (1 + place),
        "infidelity_scaled": 10.0**index * 0.5 * (1 + place),
        "infidelity_of_zero": 0.0 if index == 4 else 10.0**index * 4,
        "max_sensitivity": 0.25 * (3 - place),
        "road": None if constant else 0.1 * place,
        "pointing_hit": None if index == 0 else float(index <= place),
        "num_path_steps": 16 * 2 ** (index % 3) if method == "integrated_gradients" else None,
    }


@pytest.fixture
def run(make_attribute_run: MakeRun) -> Path:
    return make_attribute_run(methods=METHODS, others=others, checkpoints=("trained", "untrained"))


@pytest.fixture
def table(run: Path) -> pd.DataFrame:
    return attribution_scores(attribution_rows(run)).set_index(["checkpoint", "method", "measure"])


def test_each_score_is_summed_up_as_suits_it(table: pd.DataFrame) -> None:
    of = table.loc[("trained", "gradient")]
    assert of["statistic"].to_dict() == {
        "deletion_score": "mean",
        "insertion_score": "mean",
        "road": "mean",
        "infidelity": "median",
        "infidelity_scaled": "median",
        "infidelity_share": "median",
        "infidelity_scaled_share": "median",
        "max_sensitivity": "median",
        "pointing_hit": "rate",
    }
    # 1, 10, … 100,000: the mean is of the largest alone.
    assert of.loc["infidelity", "value"] == pytest.approx(550)
    assert of.loc["infidelity", "mean"] == pytest.approx(111111 / 6)
    # Image 4, whose perturbations change nothing, has no share.
    assert (of.loc["infidelity_share", "value"], of.loc["infidelity_share", "count"]) == (0.25, 5)
    assert table.loc[("trained", "occlusion", "infidelity_scaled_share"), "value"] == 0.25
    hits = table.loc[("trained", "integrated_gradients", "pointing_hit")]
    assert hits[["value", "count", "missing"]].tolist() == [0.4, 5, 1]
    low, high = wilson_interval(2, 5)
    assert hits[["low", "high"]].tolist() == pytest.approx([float(low), float(high)])


def test_constant_maps_are_counted_and_not_zero(table: pd.DataFrame) -> None:
    row = table.loc[("trained", "occlusion", "deletion_score")]
    assert row[["value", "count", "missing", "constant"]].tolist() == pytest.approx([0.2, 5, 1, 1])
    assert table.loc[("trained", "gradient", "deletion_score"), "missing"] == 0


def test_scores_of_two_checkpoints_are_not_mixed(run: Path, table: pd.DataFrame) -> None:
    assert set(table.index.get_level_values("checkpoint")) == {"trained", "untrained"}
    rows = attribution_rows(run)
    with pytest.raises(ValueError, match="checkpoint of the scores is trained, untrained: take"):
        scores_by_method(attribution_scores(rows), completeness_gaps(rows))


def test_the_best_is_marked_by_its_direction_where_methods_can_be_compared(run: Path) -> None:
    rows = attribution_rows(run)
    rows = rows[rows["checkpoint"] == "trained"]
    found = scores_by_method(attribution_scores(rows), completeness_gaps(rows), METHODS)
    best = {
        name: [row.method for row in found if row.by_measure[name].is_best] for name in found[0].by_measure
    }
    assert best["deletion_score"] == best["infidelity_share"] == ["gradient"]
    assert best["max_sensitivity"] == best["road"] == best["pointing_hit"] == ["integrated_gradients"]
    assert best["infidelity"] == []
    figure = score_figure(attribution_scores(rows), completeness_gaps(rows), title="title", methods=METHODS)
    assert len(figure.axes) == len(best)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[2] == "ROAD: higher is better"


def test_steps_of_the_path_have_quantiles(run: Path) -> None:
    steps = path_steps(attribution_rows(run)).set_index(["checkpoint", "method", "quantile"])["steps"]
    assert steps.loc[("trained", "integrated_gradients", 0.5)] == 32
    assert set(steps.index.get_level_values("method")) == {"integrated_gradients"}
    assert path_steps(attribution_rows(run).drop(columns="num_path_steps")).empty


def test_two_methods_are_compared_image_by_image(run: Path) -> None:
    pairs = paired_scores(attribution_rows(run), "gradient", "occlusion")
    pairs = pairs[pairs["checkpoint"] == "trained"].set_index("measure")
    deletion = pairs.loc["deletion_score"]
    assert deletion[["difference", "count", "first_better"]].tolist() == pytest.approx([-0.1, 5, 1])
    assert pairs.loc["max_sensitivity", "first_better"] == 0
    assert pairs.loc["pointing_hit", "ties"] == 4
    assert pairs.loc["insertion_score", ["difference", "ties"]].tolist() == [0, 6]
    assert np.isnan(pairs.loc["insertion_score", "first_better"])
    with pytest.raises(ValueError, match="method is 'lime': choose from gradient, "):
        paired_scores(attribution_rows(run), "gradient", "lime")


def test_methods_of_different_targets_are_not_compared(make_attribute_run: MakeRun) -> None:
    rows = named_rows(make_attribute_run(targets=("predicted", "label")))
    with pytest.raises(ValueError, match=r"gradient \(label\)': compare it with occlusion \(predicted\)$"):
        paired_scores(rows, "gradient (predicted)", "gradient (label)")
    rows = rows[rows["method"].str.startswith("gradient")]
    with pytest.raises(ValueError, match=r"in common with .*: no other method of the rows has"):
        paired_scores(rows, "gradient (predicted)", "gradient (label)")


def test_a_checkpoint_without_both_methods_has_no_pairs(make_attribute_run: MakeRun) -> None:
    make_attribute_run(checkpoints=("untrained",), methods=("gradient",))
    pairs = paired_scores(attribution_rows(make_attribute_run()), "gradient", "occlusion")
    assert set(pairs["checkpoint"]) == {"trained"}


@pytest.fixture
def run_of_more_targets(make_attribute_run: MakeRun) -> Path:
    """A run whose re-drawn networks were asked for one more target than the trained one."""
    make_attribute_run(checkpoints=("untrained",), targets=("predicted", "label"))
    return make_attribute_run()


def test_a_method_has_one_name_whichever_checkpoints_are_taken(run_of_more_targets: Path) -> None:
    names = {"gradient (predicted)", "occlusion (predicted)"}
    assert set(choose(run_of_more_targets, Choice())["method"]) == names
    assert set(named_rows(run_of_more_targets, images=[2], methods=["gradient"])["method"]) == {
        "gradient (predicted)",
        "gradient (label)",
    }
    # The class of the label has no map of the trained network to be like.
    assert set(similarities(run_of_more_targets)["method"]) == names


def test_targets_may_differ_by_checkpoint(
    run_of_more_targets: Path, tmp_path: Path, section_page: Callable[..., Any]
) -> None:
    main([str(run_of_more_targets), "--output", str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out" / "trust.csv")
    assert table["method"].tolist() == ["gradient (predicted)", "occlusion (predicted)"]
    assert "not measured" not in set(table["sanity"])
    assert "not measured" not in section_page(run_of_more_targets).text


@pytest.mark.parametrize(
    ("checkpoints", "verdict"), [(("trained",), "not measured"), (("trained", "untrained"), "passes")]
)
def test_without_scores_the_verdicts_stand_alone(
    make_attribute_run: MakeRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    section_page: Callable[..., Any],
    checkpoints: tuple[str, ...],
    verdict: str,
) -> None:
    run = make_attribute_run(checkpoints=checkpoints, scores=lambda method, index: (None, None))
    main([str(run), "--output", str(tmp_path / "out"), "--format", "csv"])
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "Method,Sanity check"
    assert [line.split(":")[0].split(",")[0] for line in lines] == ["gradient", "occlusion"]
    assert all(verdict in line for line in lines)
    assert ("Sanity check" in section_page(run).text) == (len(checkpoints) > 1)


def test_images_are_counted_from_the_fewest_to_the_most(
    make_attribute_run: MakeRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_attribute_run(
        others=lambda checkpoint, method, index: {"road": 0.5 if method == "gradient" or index == 0 else None}
    )
    main([str(run), "--output", str(tmp_path / "out"), "--format", "csv"])
    counts = [line.split(",")[4] for line in capsys.readouterr().out.splitlines()[:3]]
    assert counts == ["Images", "6", "1 to 6"]


def test_the_table_of_trust_has_scores_and_the_sanity_check(run: Path) -> None:
    rows = attribution_rows(run)
    scores = attribution_scores(rows[rows["checkpoint"] == "trained"])
    found = trust_table(scores, None, METHODS).set_index("method")
    assert found["deletion_score"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert found.loc["occlusion", ["count", "missing", "constant"]].tolist() == [6, 1, 1]
    assert found.loc["occlusion", ["deletion_score_count", "infidelity_count"]].tolist() == [5, 6]
    assert set(found["sanity"]) == {"not measured"}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("markdown", "| gradient | 0.100\\* |"),
        ("latex", r"ROAD $\uparrow$"),
        ("csv", "Method,deletion score ↓,"),
    ],
)
def test_command_line_prints_and_writes_the_table(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, text: str
) -> None:
    main([str(run), "--output", str(tmp_path / "out"), "--format", kind])
    assert text in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "trust.csv")
    assert table["sanity"].isin(["passes", "undecided"]).all()
    assert {"infidelity_low", "infidelity_share", "max_sensitivity_high"} <= set(table)


def test_scores_write_all_checkpoints_and_pairs(run: Path, tmp_path: Path) -> None:
    scores_main([str(run), "--output", str(tmp_path), "--compare", "gradient,occlusion"])
    assert set(pd.read_csv(tmp_path / "attribution-scores.csv")["checkpoint"]) == {"trained", "untrained"}
    assert len(pd.read_csv(tmp_path / "paired-scores.csv")) == 2 * 9
    with pytest.raises(ValueError, match="compare is 'gradient': give two methods"):
        scores_main([str(run), "--output", str(tmp_path), "--compare", "gradient"])


def test_the_report_shows_other_scores(run: Path, section_page: Callable[..., Any]) -> None:
    page = section_page(run)
    text = " ".join(page.text.split())
    assert "Which can be trusted" in text
    assert "Other scores" in text
    assert "pointing gamerate, higher is better" in text.replace("game rate", "gamerate")
    assert "Deletion and insertion" in text
