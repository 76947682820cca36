"""Runs of several networks: rows of one are not mixed with those of another."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.attribution.agreement import agreement
from analysis.attribution.attributions import attribution_rows, evidence_rows
from analysis.attribution.checkpoints import (
    checkpoint_order,
    num_redrawn,
    one_checkpoint,
    redrawn_words,
    shown_checkpoint,
)
from analysis.attribution.choice import Choice, choose
from analysis.attribution.grids import checkpoint_pages, main

MakeRun = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [
        ("trained", 0, None),
        ("randomized:1", 1, "the last layer is re-drawn"),
        ("randomized:12", 12, "the last 12 layers are re-drawn"),
        ("randomized:all", math.inf, "all layers are re-drawn"),
        ("untrained", math.inf, "all layers are re-drawn"),
        ("epoch-3.safetensors", None, None),
        ("all", None, None),
    ],
)
def test_how_many_layers_were_redrawn(name: str, number: float | None, words: str | None) -> None:
    assert num_redrawn(name) == number
    assert words is None or redrawn_words(name) == words


def test_checkpoints_stand_by_depth_and_others_as_asked(
    make_attribute_run: MakeRun, describe_run: Callable[..., None]
) -> None:
    names = ("b.pt", "untrained", "randomized:10", "a.pt", "randomized:2", "trained")
    run = make_attribute_run(images=range(1), checkpoints=names)
    describe_run(run, blocks=[{"axes": {"checkpoint": list(names)}}])
    rows = attribution_rows(run)
    ordered = ["trained", "randomized:2", "randomized:10", "untrained", "b.pt", "a.pt"]
    assert checkpoint_order(run, rows["checkpoint"].unique()) == ordered
    assert shown_checkpoint(run, rows) == "trained"
    assert shown_checkpoint(run, rows[rows["checkpoint"] != "trained"]) == "a.pt"


def test_one_checkpoint_is_the_trained_one_or_the_only_one_or_named(make_attribute_run: MakeRun) -> None:
    rows = attribution_rows(make_attribute_run(checkpoints=("trained", "untrained", "a.pt")))
    assert set(one_checkpoint(rows)["checkpoint"]) == {"trained"}
    assert set(one_checkpoint(rows, "a.pt")["checkpoint"]) == {"a.pt"}
    others = rows[rows["checkpoint"] != "trained"]
    assert set(one_checkpoint(others[others["checkpoint"] == "a.pt"])["checkpoint"]) == {"a.pt"}
    with pytest.raises(ValueError, match=r"checkpoint is 'b': choose from a\.pt, trained, untrained"):
        one_checkpoint(rows, "b")
    with pytest.raises(ValueError, match=r"choose from a\.pt, untrained"):
        one_checkpoint(others)


def test_agreement_is_that_of_the_trained_network(make_attribute_run: MakeRun) -> None:
    alone = agreement(make_attribute_run())
    run = make_attribute_run("several", checkpoints=("trained", "untrained"))
    assert agreement(run).equals(alone)
    assert not agreement(run, checkpoint="untrained").equals(alone)


def test_claims_look_at_networks_that_learned(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(checkpoints=("trained", "randomized:1", "untrained"))
    assert set(evidence_rows(run)["checkpoint"]) == {"trained"}
    assert evidence_rows(make_attribute_run("fresh", checkpoints=("untrained",))).empty


def drawn(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_grid_by_checkpoint_has_a_strip_for_each_image_and_method(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(
        checkpoints=("untrained", "trained"),
        values=lambda method, index, shape: np.full(shape, 1.0),
        redrawn_values=lambda checkpoint, method, index, shape: np.full(shape, -1.0),
        prediction=lambda index: index % 4,
    )
    rows = choose(run, Choice(images=[1, 2], by="checkpoint"))
    ((name, figure),) = checkpoint_pages(run, rows)
    assert name == "checkpoint-grid-001"
    assert [text for text in texts(figure) if text in ("image", "trained", "untrained")] == [
        "image", "trained", "untrained",
    ]  # fmt: skip
    titles = [text for text in texts(figure) if "(test/" in text]
    assert [title.partition(" (")[0] for title in titles] == [
        "gradient: image 1", "occlusion: image 1", "gradient: image 2", "occlusion: image 2",
    ]  # fmt: skip
    pictures = drawn(figure)
    assert len(pictures) == 4 * 3
    red, blue = pictures[1][0, 0].tolist(), pictures[2][0, 0].tolist()
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60


def test_a_grid_of_methods_is_of_one_checkpoint(make_attribute_run: MakeRun, tmp_path: Path) -> None:
    run = make_attribute_run(checkpoints=("trained", "untrained"))
    assert set(choose(run, Choice())["checkpoint"]) == {"trained"}
    assert set(choose(run, Choice(checkpoints=["untrained"]))["checkpoint"]) == {"untrained"}
    with pytest.raises(ValueError, match="checkpoints is trained, untrained: give one, or --by checkpoint"):
        main([str(run), "--output", str(tmp_path), "--checkpoints", "trained,untrained"])


def test_the_command_line_draws_by_checkpoint(
    make_attribute_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_attribute_run(images=range(5), checkpoints=("trained", "untrained", "randomized:1"))
    main([str(run), "--output", str(tmp_path / "out"), "--by", "checkpoint"])
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["checkpoint-grid-001.png", "checkpoint-grid-002.png"]
