"""Rates against tables computed by hand: who succeeded, out of whom."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import load
from analysis.attacks.rows import attack_names
from analysis.attacks.success_rates import accuracy, main, success_rate
from analysis.naming import class_names, describe, format_epsilon

ROOT = Path(__file__).parents[3]

MakeRun = Callable[..., Path]

EPSILON = 8 / 255

# Six images, labels 0 1 2 0 1 2. Image 5 is misclassified as 0 to begin with. At 8/255 fgsm moves images 0 and 1
# to class 2, and puts image 5 right.
MOVED = {0: 2, 1: 2, 5: 2}


def moved(method: str, index: int, epsilon: float, clean: int) -> int:
    return MOVED.get(index, clean) if method in ("fgsm", "minimum_fgsm") and epsilon >= EPSILON else clean


SIX: dict[str, Any] = {"clean": lambda index, label: 0 if index == 5 else label, "predicted": moved}


def rate(table: pd.DataFrame, **where: object) -> tuple[float, int]:
    """Rate and count of the one row with these values."""
    for column, value in where.items():
        table = table[table[column] == value]
    (row,) = table.itertuples()
    return row.rate, row.count


def test_success_against_the_label_over_all_images(make_attack_run: MakeRun) -> None:
    table = success_rate(load.results(make_attack_run(**SIX)), by=["method", "epsilon"])
    assert list(table) == ["method", "epsilon", "rate", "low", "high", "count", "zero_gradient_share"]
    # Image 5 counts as adversarial without any attack, and no more once the attack puts it right.
    assert rate(table, epsilon=0) == (1 / 6, 6)
    assert rate(table, epsilon=EPSILON) == (2 / 6, 6)


def test_success_over_the_images_that_were_right_to_begin_with(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX))
    table = success_rate(frame, ["epsilon"], "initially_correct")
    assert rate(table, epsilon=0) == (0, 5)
    assert rate(table, epsilon=EPSILON) == (2 / 5, 5)


def test_success_against_the_clean_prediction(make_attack_run: MakeRun) -> None:
    table = success_rate(load.results(make_attack_run(**SIX)), ["epsilon"], against="clean_prediction")
    assert rate(table, epsilon=0) == (0, 6)
    assert rate(table, epsilon=EPSILON) == (3 / 6, 6)


def test_bounds_are_wilsons(make_attack_run: MakeRun) -> None:
    run = make_attack_run(
        num_images=10, predicted=lambda method, index, epsilon, clean: 9 if index < 8 else clean
    )
    row = success_rate(load.results(run), by=[]).iloc[0]
    # By hand for 24 of 30 rows: (24 + z²/2 ± z √(4.8 + z²/4)) / (30 + z²) with z = 1.95996.
    assert (row["rate"], row["count"]) == (0.8, 30)
    assert (round(row["low"], 4), round(row["high"], 4)) == (0.6269, 0.9049)


def test_after_rounding_the_other_prediction_counts(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX, predicted_u8=lambda method, index, epsilon, clean: clean))
    assert rate(success_rate(frame, rounded=True), epsilon=EPSILON) == (1 / 6, 6)
    assert rate(accuracy(frame, rounded=True), epsilon=EPSILON) == (5 / 6, 6)


def test_accuracy_is_the_share_of_labels_predicted(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX))
    assert rate(accuracy(frame), epsilon=0) == (5 / 6, 6)
    assert rate(accuracy(frame), epsilon=EPSILON) == (4 / 6, 6)
    assert rate(accuracy(frame, denominator="initially_correct"), epsilon=EPSILON) == (3 / 5, 5)


def test_a_targeted_attack_succeeds_at_its_target_and_images_of_that_class_are_left_out(
    make_attack_run: MakeRun,
) -> None:
    frame = load.results(make_attack_run(**SIX, targets=(2, 1)))
    table = success_rate(frame, ["target", "epsilon"])
    # Images 2 and 5 are of class 2, so 0 and 1 of the other four are moved to it; image 5 is no success.
    assert rate(table, target=2, epsilon=EPSILON) == (2 / 4, 4)
    # Nothing reaches class 1, and image 1, moved to class 2, is none of a target 1's.
    assert rate(table, target=1, epsilon=EPSILON) == (0, 4)
    assert rate(accuracy(frame, ["target", "epsilon"]), target=2, epsilon=EPSILON) == (4 / 6, 6)


def test_a_prediction_that_was_the_target_already_is_no_change(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX, targets=(0,)))
    assert rate(success_rate(frame, ["epsilon"]), epsilon=0) == (1 / 4, 4)
    assert rate(success_rate(frame, ["epsilon"], against="clean_prediction"), epsilon=0) == (0, 4)


def test_groups_without_a_target_stay(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX, targets=(None, 2)))
    table = success_rate(frame, ["method", "target", "epsilon"])
    assert len(table) == 6
    untargeted = table[table["target"].isna()]
    assert rate(untargeted, epsilon=EPSILON) == (2 / 6, 6)
    assert table["target"].dtype == "Int32"


def test_targeted_and_untargeted_attacks_are_not_pooled(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(targets=(None, 2)))
    for by in (["method", "epsilon"], []):
        with pytest.raises(ValueError, match="pools targeted and untargeted attacks: add target"):
            success_rate(frame, by)


def test_a_group_in_which_no_image_counts_stays_without_a_rate(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX, targets=(2,)))
    row = success_rate(frame, ["label"]).set_index("label").loc[2]
    assert row["count"] == 0
    assert pd.isna(row["rate"])
    assert (row["low"], row["high"]) == (0, 1)


def test_categories_that_no_row_has_give_no_group(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX, methods=("fgsm", "random_sign")))
    table = success_rate(frame[frame["method"] == "fgsm"], ["method"])
    assert table["method"].tolist() == ["fgsm"]


def test_groups_by_class_and_checkpoint(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX, checkpoints=("untrained", "final")))
    table = success_rate(frame, ["checkpoint", "label_name", "epsilon"])
    assert rate(table, checkpoint="final", label_name="class 0", epsilon=EPSILON) == (1 / 2, 2)
    assert len(table) == 2 * 3 * 3


def test_images_with_a_zero_gradient_are_counted(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX, zero_gradient=lambda index: index in (2, 5)))
    assert success_rate(frame)["zero_gradient_share"].tolist() == [2 / 6] * 3
    # Image 5 was wrong to begin with.
    assert success_rate(frame, denominator="initially_correct")["zero_gradient_share"].tolist() == [1 / 5] * 3


def test_rows_of_minimum_methods_enter_no_rate_by_epsilon(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(**SIX, methods=("fgsm", "minimum_fgsm")))
    for by in (["method", "epsilon"], ["epsilon"], []):
        pd.testing.assert_frame_equal(
            success_rate(frame, by),
            success_rate(frame[frame["method"] == "fgsm"], by),
            check_categorical=False,
        )


def test_by_method_a_minimum_found_is_a_success(make_attack_run: MakeRun) -> None:
    found = {0: EPSILON, 1: EPSILON, 5: 0.0}
    run = make_attack_run(**SIX, methods=("fgsm", "minimum_fgsm"), minimum=found.get)
    frame = load.results(run)
    # The rows of images without one describe ε = 1.
    assert rate(success_rate(frame, ["method"]), method="minimum_fgsm") == (3 / 6, 6)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"by": ["epsilom"]}, "by names 'epsilom': choose from sweep, model"),
        ({"denominator": "some"}, "denominator is 'some': choose from all, initially_correct"),
        ({"against": "target"}, "against is 'target': choose from label, clean_prediction"),
    ],
)
def test_a_mistake_names_what_would_be_accepted(
    make_attack_run: MakeRun, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        success_rate(load.results(make_attack_run()), **arguments)


def test_rows_of_another_sweep_are_refused(make_run: MakeRun, make_attack_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="sweep of the rows is 'generate': accepted: 'attack'"):
        success_rate(load.results(make_run()))
    with pytest.raises(ValueError, match="column 'label' is not among"):
        accuracy(load.results(make_attack_run()).drop(columns="label"))


def test_the_frame_that_pandas_reads_gives_the_same_and_stays_as_it_is(make_attack_run: MakeRun) -> None:
    run = make_attack_run(**SIX, targets=(None, 2))
    plain = pd.read_parquet(run / "results")
    before = plain.copy()
    table = success_rate(plain, ["method", "target"])
    assert table["rate"].tolist() == success_rate(load.results(run), ["method", "target"])["rate"].tolist()
    pd.testing.assert_frame_equal(plain, before)


def test_epsilons_are_written_as_steps_of_eight_bits_where_they_are_such() -> None:
    epsilons = [0, 0.25 / 255, 2 / 255, 64 / 255, 0.01, 0.1, 1]
    written = ["0", "0.25/255", "2/255", "64/255", "0.01", "0.1", "1"]
    assert [format_epsilon(epsilon) for epsilon in epsilons] == written


def test_names_of_attacks_classes_and_test_sets(make_attack_run: MakeRun) -> None:
    frame = load.results(make_attack_run(targets=(None, 2)))
    assert sorted(attack_names(frame).unique()) == ["fgsm", "fgsm, targeted"]
    assert class_names(frame) == {0: "0 class 0", 1: "1 class 1", 2: "2 class 2"}
    assert describe(frame) == "fashion_deep on fashion_mnist test, 6 images"


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_command_line_prints_the_table_and_writes_it(
    make_attack_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run, output = make_attack_run(**SIX, checkpoints=("untrained", "final")), tmp_path / "tables" / name
    main([str(run), "--denominator", "initially_correct", "--output", str(output)])
    assert "untrained" in capsys.readouterr().out
    table = pd.read_csv(output) if name.endswith("csv") else pd.read_parquet(output)
    # What differs between the rows besides epsilon has a column without being asked for.
    assert list(table)[:3] == ["checkpoint", "method", "epsilon"]
    assert rate(table, checkpoint="final", epsilon=EPSILON) == (2 / 5, 5)


@pytest.mark.parametrize("arguments", [["missing"], ["RUN", "--by", "method,epsilom"], ["GENERATED"]])
def test_command_line_answers_a_mistake_with_one_line_and_status_2(
    make_attack_run: MakeRun, make_run: MakeRun, arguments: list[str]
) -> None:
    places = {"RUN": str(make_attack_run()), "GENERATED": str(make_run())}
    command = [sys.executable, "-m", "analysis.success_rates", *(places.get(a, a) for a in arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
