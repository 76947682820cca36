"""Curves against ε as SVG: where points and intervals stand, and which lines of many are drawn."""

import numpy as np
import pandas as pd
import pytest

from analysis.html.choices import evenly, in_order, spread
from analysis.html.epsilon_charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, epsilon_chart

SCALE = Scale(1 / 255, 64 / 255)
CURVE = pd.DataFrame(
    {
        "epsilon": [0.0, 1 / 255, 64 / 255],
        "rate": [0.0, 0.5, 1.0],
        "low": [0.0, 0.4, 0.8],
        "high": [0.1, 0.6, 1.0],
    }
)


def points(text: str) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in text.split()]  # type: ignore[misc]


def test_the_axis_is_linear_up_to_the_smallest_epsilon_and_logarithmic_beyond() -> None:
    places = SCALE.place(np.array([0, 0.5, 1, 2, 4, 8, 64, 255]) / 255)
    assert places[0] == LEFT
    assert places[1] - places[0] == pytest.approx(places[2] - places[1])
    assert (
        places[3] - places[2] == pytest.approx(places[4] - places[3]) == pytest.approx(places[5] - places[4])
    )
    assert places[6] == places[7] == WIDTH - RIGHT
    assert [tick.label for tick in SCALE.ticks()] == ["0", "1", "2", "4", "8", "16", "32", "64"]


def test_a_line_goes_through_the_rates_and_its_band_around_the_intervals() -> None:
    [line] = epsilon_chart({"fgsm": CURVE}, ["bim", "fgsm"], SCALE, title="").lines
    bottom, span = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    assert [top for _, top in points(line.points)] == pytest.approx([bottom, bottom - span / 2, TOP], abs=0.1)
    around = [0, 0.4, 0.8, 1, 0.6, 0.1]
    assert [top for _, top in points(line.band)] == pytest.approx(
        [bottom - span * share for share in around], abs=0.1
    )
    # The colour is that of its place among all names.
    assert line.color == 1


def test_a_rate_of_steps_holds_up_to_the_next_epsilon_and_to_the_end_of_the_axis() -> None:
    [line] = epsilon_chart({"fgsm": CURVE}, ["fgsm"], Scale(1 / 255, 1.0), title="", steps=True).lines
    across, down = zip(*points(line.points), strict=True)
    assert down[0] == down[1] > down[2] == down[3] > down[4] == down[5]
    assert across[1] == across[2]
    assert across[-1] == WIDTH - RIGHT
    assert line.markers == ""


def test_rates_that_are_not_known_are_left_out() -> None:
    gaps = CURVE.assign(rate=[np.nan, 0.5, np.nan])
    [line] = epsilon_chart({"fgsm": gaps}, ["fgsm"], SCALE, title="").lines
    assert len(points(line.points)) == 1
    assert epsilon_chart({"fgsm": gaps.assign(rate=np.nan)}, ["fgsm"], SCALE, title="").lines == []


def test_of_many_values_the_first_the_last_and_some_between_are_chosen() -> None:
    assert evenly(range(100), 5) == [0, 25, 50, 74, 99]
    assert evenly(range(3), 5) == [0, 1, 2]
    assert in_order(["b", "z", "a", "c"], ["c", "b"]) == ["c", "b", "a", "z"]


def test_rows_are_spread_over_outcomes_and_classes() -> None:
    rows = pd.DataFrame({"label": np.arange(40) % 10, "place": range(40)})
    chosen = spread(rows, rows["place"] % 20 < 10, "label", 8)
    assert (chosen["place"] % 20 < 10).tolist() == [True] * 4 + [False] * 4
    assert chosen["label"].nunique() == 8
    # Where an outcome is rare the other fills its places.
    assert (spread(rows, rows["place"] == 7, "label", 8)["place"] == 7).sum() == 1
    assert len(spread(rows, rows["place"] < 0, "label", 8)) == 8
    assert len(spread(rows[:3], rows["place"][:3] < 2, "label", 8)) == 3
