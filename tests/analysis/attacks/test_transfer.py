"""Transfer against counts by hand: who was right to begin with, who is misled, and what does not count."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import load
from analysis.attacks import transfer_matrix
from analysis.attacks.rows import add_up
from analysis.attacks.transfer import KEYS, summary, transfer_counts, transfer_table
from analysis.attacks.transfer_matrix import short_name
from analysis.intervals import wilson_interval
from analysis.run import Run, open_run

MakeRun = Callable[..., Path]
DescribeRun = Callable[..., None]

EPSILON = 8 / 255


def with_victim(frame: pd.DataFrame, name: str, clean: object, adversarial: object) -> pd.DataFrame:
    """The rows with the answers of a victim, by image; nullable, as rows of a run that grew have them."""
    return frame.assign(
        **{
            f"victim_prediction.{name}": frame["image_index"].map(adversarial).astype("Int32"),
            f"victim_clean_prediction.{name}": frame["image_index"].map(clean).astype("Int32"),
            f"victim_margin.{name}": np.float32(0),
        }
    )


@pytest.fixture
def run(make_attack_run: MakeRun) -> Run:
    """Six images, labels 0 1 2 0 1 2; the source has image 5 wrong and is misled on images 0 and 1 at 8/255."""
    return open_run(
        make_attack_run(
            clean=lambda index, label: 0 if index == 5 else label,
            predicted=lambda method, index, epsilon, clean: 2 if index < 2 and epsilon == EPSILON else clean,
        )
    )


LABELS = {index: index % 3 for index in range(6)}


def cell(table: pd.DataFrame, victim: str, epsilon: float = EPSILON) -> tuple[float, int]:
    (row,) = table[(table["victim"] == victim) & (table["epsilon"] == epsilon)].to_dict("records")
    return row["rate"], row["count"]


def test_only_images_right_for_both_count(run: Run) -> None:
    # The victim has image 0 wrong to begin with; it is misled on images 0, 1, 2 and 5.
    frame = with_victim(load.results(run), "v", {**LABELS, 0: 1}, {**LABELS, 0: 1, 1: 0, 2: 0, 5: 0})
    table = transfer_table([(run, transfer_counts(frame))])
    assert cell(table, "v") == (2 / 4, 4)
    assert cell(table, "fashion_deep") == (2 / 5, 5)
    row = table[(table["victim"] == "v") & (table["epsilon"] == EPSILON)].iloc[0]
    assert (row["low"], row["high"]) == tuple(map(float, wilson_interval(2, 4)))
    assert table.loc[table["white_box"], "victim"].unique().tolist() == ["fashion_deep"]


def test_an_answer_that_is_missing_or_no_number_does_not_count(run: Run) -> None:
    frame = with_victim(load.results(run), "v", {**LABELS, 4: None}, {**LABELS, 1: 0, 2: None, 3: -1})
    assert cell(transfer_table([(run, transfer_counts(frame))]), "v") == (1 / 2, 2)


def test_a_victim_without_any_answer_has_no_rate(run: Run) -> None:
    frame = with_victim(load.results(run), "v", {}, {})
    rate, count = cell(transfer_table([(run, transfer_counts(frame))]), "v")
    assert np.isnan(rate)
    assert count == 0


def test_a_targeted_attack_counts_where_the_victim_sees_the_target(make_attack_run: MakeRun) -> None:
    run = open_run(make_attack_run(targets=(2,), num_images=6, epsilons=(EPSILON,)))
    # Images 2 and 5 have the target as their label. The victim takes image 0 for class 1, image 1 for class 2.
    frame = with_victim(load.results(run), "v", LABELS, {**LABELS, 0: 1, 1: 2})
    table = transfer_table([(run, transfer_counts(frame))])
    assert cell(table, "v") == (1 / 4, 4)
    assert table["attack"].unique().tolist() == ["fgsm, targeted"]


def test_images_of_a_minimum_count_where_one_was_found(make_attack_run: MakeRun) -> None:
    run = open_run(
        make_attack_run(methods=("minimum_fgsm",), minimum=lambda index: 0.1 if index < 4 else None)
    )
    frame = with_victim(load.results(run), "v", LABELS, {**LABELS, 0: 1})
    table = transfer_table([(run, transfer_counts(frame))])
    (row,) = table[table["victim"] == "v"].to_dict("records")
    assert (row["rate"], row["count"]) == (1 / 4, 4)
    assert np.isnan(row["epsilon"])


def test_counts_of_parts_add_up(run: Run) -> None:
    frame = with_victim(load.results(run), "v", LABELS, {**LABELS, 0: 1})
    parts = [transfer_counts(frame.iloc[:7]), transfer_counts(frame.iloc[7:])]
    whole = transfer_table([(run, transfer_counts(frame))])
    pd.testing.assert_frame_equal(transfer_table([(run, add_up(parts, KEYS))]), whole, check_dtype=False)


def test_a_source_has_the_name_of_the_victim_with_its_weights(run: Run, describe_run: DescribeRun) -> None:
    describe_run(Path(run.url), definitions={"victim seed1": "d1", "victim v": "d2"})
    frame = with_victim(load.results(run), "v", LABELS, LABELS)
    frame = with_victim(frame, "seed1", LABELS, LABELS)
    table = transfer_table([(open_run(run.url), transfer_counts(frame))])
    assert table["source"].unique().tolist() == ["seed1"]
    # Its own predictions stand for it, once.
    assert cell(table, "seed1") == (2 / 5, 5)
    assert set(table["victim"]) == {"seed1", "v"}


def test_a_victim_with_the_name_of_the_model_and_other_weights_is_another_model(
    run: Run, describe_run: DescribeRun
) -> None:
    # As where an untrained checkpoint is attacked, and its images are shown to the trained one.
    describe_run(Path(run.url), definitions={"victim fashion_deep": "d2"})
    frame = with_victim(load.results(run), "fashion_deep", LABELS, {**LABELS, 0: 1})
    table = transfer_table([(open_run(run.url), transfer_counts(frame))])
    assert table["source"].unique().tolist() == ["fashion_deep, other weights"]
    assert cell(table, "fashion_deep, other weights") == (2 / 5, 5)
    assert cell(table, "fashion_deep") == (1 / 5, 5)
    assert table.loc[table["white_box"], "victim"].unique().tolist() == ["fashion_deep, other weights"]


def test_runs_of_one_model_are_told_apart_by_their_names(make_attack_run: MakeRun) -> None:
    runs = [open_run(make_attack_run(folder)) for folder in ("first", "second")]
    parts = [(run, transfer_counts(with_victim(load.results(run), "v", LABELS, LABELS))) for run in runs]
    table = transfer_table(parts)
    assert list(table["source"].cat.categories) == ["fashion_deep (first)", "fashion_deep (second)"]
    assert list(table["victim"].cat.categories) == [*table["source"].cat.categories, "v"]


def test_what_the_terminal_shows_has_a_column_per_victim(run: Run) -> None:
    frame = with_victim(load.results(run), "v", LABELS, {**LABELS, 0: 1})
    table = summary(transfer_table([(run, transfer_counts(frame))]))
    assert list(table) == ["Source", "Checkpoint", "Attack", "ε", "fashion_deep", "v"]
    assert table["ε"].tolist() == ["0", "2/255", "8/255"]
    assert table["v"].tolist()[-1] == "20.0 [3.6, 62.4] of 5"


def matrix(num: int) -> pd.DataFrame:
    names = [f"model {number}" for number in range(num)]
    rows = [(source, victim) for source in names for victim in names]
    table = pd.DataFrame(rows, columns=["source", "victim"]).assign(
        checkpoint="final", attack="fgsm", epsilon=EPSILON, rate=0.5, low=0.4, high=0.6, count=100
    )
    table["white_box"] = table["source"] == table["victim"]
    return table.assign(victim=pd.Categorical(table["victim"], names))


@pytest.mark.parametrize("num", [1, 5, 12])
def test_the_numbers_of_a_matrix_fit_into_its_cells(num: int) -> None:
    ((_, page),) = transfer_matrix.figures(matrix(num), "fashion_mnist test")
    assert isinstance(page, Figure)
    page.canvas.draw()
    (axes,) = page.axes
    assert len(axes.texts) == num * num
    assert len(axes.patches) == num
    cell_size = [
        abs(end - start) for start, end in zip(*axes.transData.transform([(0, 0), (1, 1)]), strict=True)
    ]
    for text in axes.texts[: num + 1]:
        box = text.get_window_extent()
        assert box.width < cell_size[0]
        assert box.height < cell_size[1]


def test_a_cell_that_was_not_shown_stays_empty() -> None:
    table = matrix(2).iloc[:3]
    grid = transfer_matrix.transfer_grid(table, "source", ["model 0", "model 1"], ["model 0", "model 1"])
    assert grid.lines(0, 1) == ["50", "40\N{EN DASH}60", "n 100"]
    assert grid.lines(1, 1) == []


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("fashion_deep", "fashion_deep"),
        ("fashion_deep:weights=seed1.safetensors", "fashion_deep, seed1"),
        ("fashion_deep:weights=last.v2.ckpt", "fashion_deep, last.v2"),
        ("timm:resnet50:weights=a-long-name-epoch90.pth", "timm:r\N{HORIZONTAL ELLIPSIS}a-long-name-epoch90"),
    ],
)
def test_names_beside_a_matrix_tell_files_of_weights_apart(name: str, short: str) -> None:
    assert short_name(name) == short
