"""The worst case of what two runs share, image by image, against plain loops over the rows."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.attacks.comparison import compare, main
from analysis.attacks.comparison_views import figures, groups, panels, summary
from analysis.attacks.norm_panels import WORST
from analysis.attacks.norms import NAMES
from analysis.attacks.outcomes import outcomes_of
from analysis.attacks.pairing import Side
from analysis.attacks.worst_case import ANY
from analysis.paired import mcnemar, paired_difference

MakeRun = Callable[..., Path]

EPSILONS = (0.0, 2 / 255, 8 / 255)
NUM_IMAGES = 24
IN_MAX_NORM = ("fgsm", "pgd", "minimum_fgsm")
ATTACKS = (*IN_MAX_NORM, "fgm_l2", "gradient_alone")
CELLS = ["both", "only_first", "only_second", "neither"]


def at_random(seed: int) -> dict[str, Any]:
    """A run in which chance decides what is misled, by each method at each ε."""

    def draw(*key: object) -> float:
        return float(np.random.default_rng([seed, *map(hash, key)]).random())

    numbers = {method: number for number, method in enumerate(ATTACKS)}
    return {
        "methods": ATTACKS,
        "num_images": NUM_IMAGES,
        "shard_size": NUM_IMAGES,
        "epsilons": EPSILONS,
        "clean": lambda index, label: (label + 1) % 3 if draw(0, index) < 0.15 else label,
        "predicted": lambda method, index, epsilon, clean: (
            (clean + 1) % 3 if draw(1, numbers[method], index, int(255 * epsilon)) < 0.15 else clean
        ),
        "minimum": lambda index: None if (drawn := draw(2, index)) < 0.5 else drawn * 10 / 255,
    }


def frame_of(run: Path) -> pd.DataFrame:
    """The rows, those of `fgm_l2` within ε of the Euclidean norm, those of minima successful if they have an ε."""
    rows = load.results(run)
    euclidean, seeks = rows["method"] == "fgm_l2", rows["method"] == "minimum_fgsm"
    rows["l2"] = rows["l2"].mask(euclidean, rows["epsilon"])
    rows["linf"] = rows["linf"].mask(euclidean, rows["epsilon"] / 10)
    found = np.where(rows["epsilon"].isna(), rows["label"], (rows["label"] + 1) % 3)
    rows["adversarial_prediction"] = rows["adversarial_prediction"].mask(seeks, found)
    return rows


@pytest.fixture
def frames(make_attack_run: MakeRun) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two runs; the first lacks images 0 to 2 under pgd, the second image 5 under the minimum and 20 to 23."""
    first, second = (frame_of(make_attack_run(f"run{seed}", **at_random(seed))) for seed in (3, 4))
    first = first[(first["method"] != "pgd") | (first["image_index"] > 2)]
    second = second[(second["method"] != "minimum_fgsm") | (second["image_index"] != 5)]
    return first, second[second["image_index"] < 20]


def sides(*frames: pd.DataFrame) -> list[Side]:
    return [
        Side(name=name, outcomes=outcomes_of([frame]))
        for name, frame in zip(("first", "second"), frames, strict=True)
    ]


def hits(frame: pd.DataFrame, index: int, epsilon: float) -> list[bool] | None:
    """Whether each method misleads the image; None if a row lacks."""
    found = []
    for method in IN_MAX_NORM:
        rows = frame[(frame["method"] == method) & (frame["image_index"] == index)]
        if not method.startswith("minimum"):
            rows = rows[rows["epsilon"] == epsilon]
        if rows.empty:
            return None
        (row,) = rows.to_dict("records")
        if method.startswith("minimum"):
            found.append(row["epsilon"] <= epsilon)  # false for NaN
        else:
            found.append(row["adversarial_prediction"] != row["label"])
    return found


def right(frame: pd.DataFrame, index: int) -> bool:
    rows = frame[frame["image_index"] == index]
    return bool((rows["clean_prediction"] == rows["label"]).iloc[0])


def by_loop(frames: tuple[pd.DataFrame, pd.DataFrame], epsilon: float, *, only_right: bool) -> list[int]:
    numbers = dict.fromkeys(product((True, False), repeat=2), 0)
    for index in range(20):
        one, other = (hits(frame, index, epsilon) for frame in frames)
        if one is None or other is None or (only_right and not all(right(frame, index) for frame in frames)):
            continue
        numbers[any(one), any(other)] += 1
    return [numbers[key] for key in ((True, True), (True, False), (False, True), (False, False))]


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("denominator", ["all", "initially_correct"])
def test_an_image_counts_as_hit_if_any_shared_method_hits_it(frames, epsilon, denominator) -> None:
    table = compare(*sides(*frames))
    same = (table["attack"] == ANY) & (table["epsilon"] == epsilon) & (table["denominator"] == denominator)
    (row,) = table[same].to_dict("records")
    cells = by_loop(frames, epsilon, only_right=denominator == "initially_correct")
    assert [row[name] for name in CELLS] == cells
    # Images 0 to 2 and 5 lack a method on one side.
    assert row["count"] == sum(cells) == (16 if denominator == "all" else row["count"])
    assert (row["difference"], row["low"], row["high"]) == paired_difference(*cells)
    assert (row["p_exact"], row["p_mid"]) == mcnemar(cells[1], cells[2])
    assert row["norm"] == "linf"


def test_the_cases_are_told_apart(frames) -> None:
    cells = by_loop(frames, EPSILONS[-1], only_right=False)
    assert min(cells) > 0
    assert cells != by_loop(frames, EPSILONS[-1], only_right=True)


def test_a_norm_with_one_shared_method_has_no_worst_case(frames) -> None:
    first, second = frames
    without = second[~second["method"].isin(["pgd", "minimum_fgsm"])]
    assert ANY not in set(compare(*sides(first, without))["attack"])
    assert set(compare(*sides(first, second)).query("attack == @ANY")["norm"]) == {"linf"}


def test_only_the_methods_that_an_epsilon_has_are_taken_together(frames) -> None:
    first, second = frames
    # At 8/255 the second has fgsm alone and, there as everywhere, the minimum.
    second = second[(second["method"] != "pgd") | (second["epsilon"] < EPSILONS[-1])]
    rows = (
        compare(*sides(first, second)).query("attack == @ANY and denominator == 'all'").set_index("epsilon")
    )
    assert rows["count"].tolist() == [16, 16, 19]
    held = first[first["method"] != "pgd"], second[second["method"] != "pgd"]
    alone = compare(*sides(*held)).query("attack == @ANY and denominator == 'all'").set_index("epsilon")
    pd.testing.assert_series_equal(rows.loc[EPSILONS[-1]], alone.loc[EPSILONS[-1]])


def test_two_methods_held_against_each_other_have_no_worst_case(frames) -> None:
    outcomes = outcomes_of([frames[0]])
    pair = [Side(name=name, outcomes=outcomes, method=name) for name in ("fgsm", "pgd")]
    assert set(compare(*pair)["attack"]) == {"fgsm and pgd"}


def test_two_checkpoints_have_a_worst_case(make_attack_run: MakeRun) -> None:
    run = make_attack_run(
        checkpoints=("early", "late"),
        methods=("fgsm", "pgd"),
        num_images=6,
        predicted=lambda method, index, epsilon, clean: (
            (clean + 1) % 3 if epsilon and index == {"fgsm": 0, "pgd": 3}[method] else clean
        ),
    )
    outcomes = outcomes_of([load.results(run)])
    table = compare(*(Side(name=name, outcomes=outcomes, checkpoint=name) for name in ("early", "late")))
    worst = table.query("attack == @ANY and epsilon > 0 and denominator == 'all'")
    assert set(worst["checkpoint"]) == {"early and late"}
    assert set(worst["both"]) == {2}
    assert set(worst["neither"]) == {4}


def test_targets_are_taken_together_and_a_target_that_a_method_lacks_does_not_count(make_attack_run) -> None:
    runs = [
        load.results(make_attack_run(name, methods=("fgsm", "pgd"), targets=(0, 1), num_images=3))
        for name in ("a", "b")
    ]
    runs[1] = runs[1][(runs[1]["method"] != "pgd") | (runs[1]["target"] != 1)]
    table = compare(*sides(*runs)).query("denominator == 'all' and epsilon > 0")
    # Images 1 and 2 under target 0; image 0 is of that class.
    assert set(table[table["attack"] == f"{ANY}, targeted"]["count"]) == {2}
    assert set(table[table["attack"] == "fgsm, targeted"]["count"]) == {4}
    assert [panel.title for panel in panels(table.assign(denominator="initially_correct"))] == [
        f"{NAMES['linf']} norm, targeted"
    ]


def test_worst_cases_come_first_in_their_norm_in_tables_and_as_the_line_of_worst_cases_in_the_figure(
    frames,
) -> None:
    first, second = (
        pd.concat([frame, frame[frame["method"] == "fgm_l2"].assign(method="pgd_l2")]) for frame in frames
    )
    table = compare(*sides(first, second))
    places = list(dict.fromkeys(zip(table["norm"], table["attack"], strict=True)))
    assert places[0] == ("linf", ANY)
    assert places.index(("l2", ANY)) < places.index(("l2", "fgm_l2"))
    names = [group["attack"] for group in groups(table)]
    assert {f"{ANY}, {NAMES['linf']}", f"{ANY}, {NAMES['l2']}"} < set(names)
    assert (summary(table, "a", "b")["Attack"] == ANY).sum() == 2 * 2 * len(EPSILONS)
    curves = {panel.norm: set(panel.curves) for panel in panels(table)}
    assert curves["l2"] == {WORST, "fgm_l2", "pgd_l2"}
    ((_, page),) = figures(table, "a", "b")
    assert any(WORST in text.get_text() for text in page.texts)


def test_the_command_writes_the_worst_case(make_attack_run: MakeRun, tmp_path: Path, capsys) -> None:
    runs = [
        make_attack_run(name, methods=("fgsm", "pgd"), num_images=6, epsilons=(0.0, 8 / 255))
        for name in ("first", "second")
    ]
    main([*map(str, runs), "--output", str(tmp_path / "out"), "--format", "csv"])
    assert f"final,{ANY},8/255,6 right,0.0 %,0.0 %" in capsys.readouterr().out
    written = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert (written["attack"] == ANY).sum() == 2 * 2
