"""The sanity check: runs whose maps change, stay alike, or are alike by chance alone, and the verdicts on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from analysis.attribution import randomization
from analysis.attribution.randomization import OTHER_IMAGE, similarities
from analysis.attribution.sanity import main, sanity_figure
from analysis.attribution.sanity_curves import method_curves
from analysis.attribution.verdicts import redrawn_checkpoints, similarity_table, verdicts

MakeRun = Callable[..., Path]
Shape = tuple[int, int, int]

SHAPE = (1, 12, 12)
CHECKPOINTS = ("trained", "untrained", "randomized:1", "randomized:3")


def noise(*key: object) -> NDArray[np.float64]:
    return np.random.default_rng([*"".join(map(str, key)).encode()]).normal(size=SHAPE)


def trained(method: str, index: int, shape: Shape) -> NDArray[np.float64]:
    return noise("trained", index) * masked(method, index)


def redrawn(checkpoint: str, method: str, index: int, shape: Shape) -> NDArray[np.float64]:
    """Maps of networks with layers re-drawn: each method has a behaviour of its own."""
    same, other = trained(method, index, shape), noise(checkpoint, index) * masked(method, index)
    return {
        "changes": other,
        "masked": other,
        "stays": same + 0.4 * other,
        "late": other if checkpoint == "untrained" else same + 0.4 * other,
        "ignores": other if checkpoint == "untrained" else same,
        "flips": same * np.sign(noise(checkpoint, index)),
        "constant": np.zeros(SHAPE) if checkpoint == "untrained" else other,
    }[method]


def masked(method: str, index: int) -> NDArray[np.bool_]:
    """The part of the image that is not black: of `masked` half of it, as under methods times the input."""
    return (noise("image", index) > 0) | np.bool_(method != "masked")


METHODS = ("changes", "masked", "stays", "late", "ignores", "flips", "constant")


@pytest.fixture
def run(make_attribute_run: MakeRun) -> Path:
    return make_attribute_run(
        images=range(20),
        methods=METHODS,
        checkpoints=CHECKPOINTS,
        shape=SHAPE,
        values=trained,
        redrawn_values=redrawn,
        shard_size=10,
    )


def test_a_method_passes_fails_or_passes_in_part(run: Path) -> None:
    table = similarity_table(similarities(run))
    found = {each.method: each for each in verdicts(table)}
    assert {name: each.verdict for name, each in found.items()} == {
        "changes": "passes",
        "masked": "passes",
        "stays": "fails",
        "late": "passes",
        "ignores": "fails",
        "flips": "in part",
        "constant": "undecided",
    }
    assert found["changes"].text.startswith("passes: changes when the last layer is re-drawn (most alike by ")
    assert found["late"].text.startswith("passes: changes when all layers are re-drawn (most alike by ")
    assert found["stays"].text.startswith("fails: its maps stay alike when all layers are re-drawn (least ")
    # As guided backpropagation: whatever the last layers are, its maps are the same.
    assert found["ignores"].text.startswith(
        "fails: its maps do not change when the last 3 layers are re-drawn"
    )
    assert "when all layers are re-drawn, Spearman, " in found["flips"].text
    assert "SSIM of |map|, 1.00, by chance" in found["flips"].text
    assert "no measure can tell" in found["constant"].text


def test_what_zeros_alone_give_is_chance(run: Path) -> None:
    table = similarity_table(similarities(run, methods=["masked"])).set_index(["checkpoint", "measure"])
    ranks = table.loc[("untrained", "spearman_absolute")]
    # Half of the pixels are 0 under both networks.
    assert ranks["mean"] > 0.6
    assert abs(ranks["mean"] - ranks["chance"]) < 0.05
    assert ranks["chance"] == ranks["shuffled"] > ranks["other_image"]
    assert abs(ranks["kept"]) < 0.3
    assert ranks["state"] == "changed"


def test_constant_maps_are_counted_and_have_no_similarity(run: Path) -> None:
    table = similarity_table(similarities(run)).set_index(["method", "checkpoint", "measure"])
    row = table.loc[("constant", "untrained", "ssim")]
    assert (row["count"], row["undefined"]) == (0, 20)
    assert np.isnan(row["mean"])
    assert table.loc[("constant", "randomized:1", "ssim"), "undefined"] == 0


def test_numbers_do_not_depend_on_the_portions(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["method", "checkpoint", "image_index"]
    whole = similarities(run).sort_values(keys, ignore_index=True)
    monkeypatch.setattr(randomization, "_PORTION_VALUES", 7 * 4 * 144 * 5)
    parts = similarities(run).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(parts, whole)
    assert (whole[whole["checkpoint"] == OTHER_IMAGE].groupby("method").size() == 10).all()


def test_maps_of_another_class_are_left_out(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(
        checkpoints=("trained", "later.safetensors"),
        others=lambda checkpoint, method, index: {
            "explained_class": 1 if checkpoint == "trained" or index < 4 else 2
        },
    )
    table = similarity_table(similarities(run))
    assert table[table["checkpoint"] == "later.safetensors"]["count"].unique().tolist() == [4]
    # Another file's weights are no re-drawn ones.
    assert {each.verdict for each in verdicts(table)} == {"not measured"}
    assert redrawn_checkpoints(table) == []


def test_few_images_leave_it_undecided(run: Path) -> None:
    table = similarity_table(similarities(run, methods=["flips", "changes"], images=[3]))
    assert {each.verdict for each in verdicts(table)} == {"undecided"}


def test_the_curves_run_from_the_trained_network_to_all_layers(run: Path) -> None:
    table = similarity_table(similarities(run, methods=["changes", "late"]))
    curves = {each.verdict.method: each for each in method_curves(table)}
    assert curves["late"].labels == ["0", "1", "3", "all"]
    assert (curves["late"].mean["ssim"].iloc[:3] > 0.5).all()
    figure = sanity_figure(table, title="title")
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() == "-" and len(line.get_xdata())]
    assert [line.get_ydata().tolist() for line in lines] == [
        curves["changes"].mean[name].tolist() for name in curves["changes"].mean
    ]
    assert "with all layers re-drawn, Spearman falls from 1 to" in curves["late"].summary


def test_command_line_prints_verdicts_and_writes_tables_and_figure(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(run), "--output", str(tmp_path / "out"), "--sample", "12", "--format", "markdown"])
    printed = capsys.readouterr()
    assert "| stays | fails: its maps stay alike when all layers are re-drawn" in printed.out
    names = [Path(line).name for line in printed.err.splitlines()]
    assert names == [
        "sanity.csv", "sanity.parquet", "sanity-verdicts.csv", "sanity-verdicts.parquet", "sanity.png",
    ]  # fmt: skip
    assert pd.read_csv(tmp_path / "out" / "sanity-verdicts.csv")["verdict"].tolist()[0] == "passes"
    assert pd.read_csv(tmp_path / "out" / "sanity.csv")["count"].max() == 12


@pytest.mark.parametrize("checkpoints", [("trained",), ("untrained", "randomized:1")])
def test_a_run_without_something_to_compare_is_refused(
    make_attribute_run: MakeRun, checkpoints: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=f"checkpoint of the rows is {', '.join(sorted(checkpoints))}: give"):
        similarities(make_attribute_run(checkpoints=checkpoints))


def test_the_report_shows_verdicts_curves_and_maps(
    run: Path, section_page: Callable[..., Any], describe_run: Callable[..., None]
) -> None:
    describe_run(run, blocks=[{"axes": {"method": list(METHODS)}}])
    page = section_page(run)
    trust = page.rows("Method")[: len(METHODS)]
    assert [row[:2] for row in trust] == [
        ["changes", "passes"], ["masked", "passes"], ["stays", "fails"],
        ["late", "passes"], ["ignores", "fails"], ["flips", "in part"], ["constant", "undecided"],
    ]  # fmt: skip
    charts = [held for tag, held in page.elements if tag == "svg" and held.get("role") == "img"]
    assert len([each for each in charts if "layers re-drawn" in (each["aria-label"] or "")]) == len(METHODS)
    pictures = [held["alt"] for tag, held in page.elements if tag == "img"]
    assert "randomized:1 of stays, image 0, 0 class 0" in pictures
    assert (page.path.parent / "run-0/sanity-verdicts.csv").is_file()
    assert "Maps, scores and agreement are of checkpoint trained" in " ".join(page.text.split())
