from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pytest

from analysis.claims import CLAIMS, claims_table

MakeRun = Callable[..., Path]

EPSILONS = (0.0, 0.01, 8 / 255, 64 / 255)
ALL = 300


def rows_of(run: Path, claim: str) -> pd.DataFrame:
    return claims_table([run], [each for each in CLAIMS if each.id == claim])


def one_row(run: Path, claim: str) -> pd.Series:
    rows = rows_of(run, claim)
    assert len(rows) == 1
    return rows.iloc[0]


def flips(
    methods: Iterable[str], share: float, above: float = 0.009
) -> Callable[[str, int, float, int], int]:
    """These methods lead the first images to another class from an ε on; the others lead nowhere."""

    def predicted(method: str, index: int, epsilon: float, clean: int) -> int:
        return (clean + 1) % 3 if method in methods and epsilon > above and index < share * ALL else clean

    return predicted


@pytest.fixture
def make_trained(make_attack_run: MakeRun) -> MakeRun:
    def make(**fields: object) -> Path:
        defaults = {"num_images": ALL, "shard_size": ALL, "checkpoints": ("trained",), "epsilons": EPSILONS}
        return make_attack_run(**(defaults | fields))

    return make


@pytest.mark.parametrize(
    ("share", "num_images", "verdict"),
    [(2 / 3, ALL, "reproduced"), (0.1, ALL, "not reproduced"), (2 / 3, 9, "undecided")],
)
def test_a_third_keeps_its_prediction(
    make_trained: MakeRun, share: float, num_images: int, verdict: str
) -> None:
    def predicted(method: str, index: int, epsilon: float, clean: int) -> int:
        return (clean + 1) % 3 if epsilon > 0 and index < share * num_images else clean

    row = one_row(make_trained(num_images=num_images, predicted=predicted), "fgsm-third-unchanged")
    assert row["value"] == pytest.approx(1 - share)
    assert row["low"] < row["value"] < row["high"]
    assert (row["count"], row["verdict"]) == (num_images, verdict)
    assert row["original"] == pytest.approx(1 / 3)
    # Fashion-MNIST is not flowers.
    assert not row["same_setting"]
    assert row["differs"].startswith("fashion_deep on fashion_mnist in place of")


def test_what_a_run_lacks_is_not_measured_and_the_command_is_named(make_trained: MakeRun) -> None:
    run = make_trained(methods=("random_sign",))
    row = one_row(run, "fgsm-third-unchanged")
    assert (row["verdict"], row["run"], row["finding"]) == ("not measured", "", "")
    assert row["needs"] == "fgsm at ε = 0.01 on the checkpoint `trained`"
    assert row["command"].startswith("python sweeps/attack_all.py --output runs/reproduce/attack ")
    assert pd.isna(row["value"])
    assert pd.isna(row["count"])


def test_an_epsilon_beside_the_grid_is_not_taken_for_one_of_it(make_trained: MakeRun) -> None:
    run = make_trained(epsilons=(0.0, 2 / 255, 8 / 255))
    assert one_row(run, "fgsm-third-unchanged")["verdict"] == "not measured"
    assert one_row(run, "fgsm-larger-epsilon")["verdict"] == "not measured"
    assert one_row(run, "fgsm-larger-epsilon-unnoticed")["verdict"] == "not reproduced"


def test_random_signs_and_gradients_are_told_apart(make_trained: MakeRun) -> None:
    methods = ("fgsm", "max_norm", "random_sign")
    run = make_trained(methods=methods, predicted=flips(("fgsm", "max_norm"), 0.7))
    assert one_row(run, "random-rarely-changes")["verdict"] == "reproduced"
    assert one_row(run, "max-norm-majority")["verdict"] == "reproduced"
    same = rows_of(run, "max-norm-as-good-same-epsilon")
    assert same["value"].tolist() == [0, 0]
    # As many images as these do not tell 2 points.
    assert set(same["verdict"]) == {"undecided"}


def test_a_claim_measured_in_two_ways_may_hold_in_one_only(make_trained: MakeRun) -> None:
    run = make_trained(methods=("max_norm", "max_norm_signed"), predicted=flips(("max_norm",), 0.9))
    rows = rows_of(run, "max-norm-majority")
    assert rows["subject"].tolist() == ["max_norm, any ε up to 8/255", "max_norm_signed, any ε up to 8/255"]
    assert rows["finding"].tolist() == ["agrees", "disagrees"]
    assert rows["verdict"].tolist() == ["partly", "partly"]


def test_success_need_not_last_to_the_largest_epsilon(make_trained: MakeRun) -> None:
    def predicted(method: str, index: int, epsilon: float, clean: int) -> int:
        return (clean + 1) % 3 if epsilon == 0.01 else clean

    assert one_row(make_trained(predicted=predicted), "fgsm-larger-epsilon")["value"] == 1


def test_targeted_attacks_are_no_evidence(make_trained: MakeRun) -> None:
    run = make_trained(num_images=6, targets=(0, 1))
    assert one_row(run, "fgsm-third-unchanged")["verdict"] == "not measured"


def test_untrained_and_trained_networks_are_held_apart(make_trained: MakeRun) -> None:
    run = make_trained(checkpoints=("untrained",), predicted=flips(("fgsm",), 0.02))
    assert one_row(run, "fgsm-untrained-prediction")["verdict"] == "reproduced"
    # The fixture's confidence falls from 0.987 to 0.75.
    moved = one_row(run, "fgsm-untrained-confidence")
    assert (moved["value"], moved["verdict"]) == (pytest.approx(0.237), "not reproduced")
    assert one_row(run, "fashion-deep-accuracy")["verdict"] == "not measured"


def test_an_accuracy_is_of_its_own_network_and_images_alone(make_trained: MakeRun) -> None:
    run = make_trained(clean=lambda index, label: label if index % 20 else (label + 1) % 3)
    row = one_row(run, "fashion-deep-accuracy")
    assert (row["value"], row["count"], row["same_setting"]) == (0.95, ALL, True)
    assert one_row(run, "fashion-alexnet-accuracy")["verdict"] == "not measured"
    assert one_row(run, "flower-accuracy")["verdict"] == "not measured"


def test_judges_compare_recipes_over_the_same_classes(make_run: MakeRun) -> None:
    run = make_run(
        num_classes=12, recipes=("plain", "blur"), wrong=lambda judge, index, seed: judge == "lite2"
    )
    rows = rows_of(run, "plain-mostly-unrecognisable")
    assert rows["subject"].tolist() == ["plain, judge lite1", "plain, judge lite2"]
    assert rows["value"].tolist() == [1, 0]
    assert rows["verdict"].tolist() == ["partly", "partly"]
    gain = rows_of(run, "blur-more-recognisable")
    assert gain["value"].tolist() == [0, 0]
    assert set(gain["verdict"]) == {"undecided"}


def test_a_few_classes_or_seeds_say_nothing(make_run: MakeRun) -> None:
    run = make_run(num_classes=3, recipes=("plain", "blur", "blur_resize_jitter"))
    assert set(claims_table([run])["verdict"]) == {"not measured"}


def test_several_runs_stand_beside_each_other(make_trained: MakeRun, make_run: MakeRun) -> None:
    one = make_trained(predicted=flips(("fgsm",), 2 / 3))
    other = make_trained(folder="other", predicted=flips(("fgsm",), 0.1))
    table = claims_table([one, other, make_run(num_classes=4)])
    rows = table[table["claim"] == "fgsm-third-unchanged"]
    assert rows[["run", "verdict"]].to_numpy().tolist() == [
        ["attack", "reproduced"],
        ["other", "not reproduced"],
    ]
    assert (table["run"] == "run").any()


def test_an_unfinished_run_says_so(make_trained: MakeRun) -> None:
    assert "the run is unfinished" in one_row(make_trained(), "fgsm-third-unchanged")["differs"]
