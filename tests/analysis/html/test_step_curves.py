"""Curves by step as SVG: where the points and the ticks are."""

import math

from analysis.html.step_curves import BOTTOM, HEIGHT, LEFT, MOST_POINTS, RIGHT, TOP, WIDTH, chart


def points(text: str) -> list[tuple[int, int]]:
    pairs = (point.split(",") for point in text.split())
    return [(int(x), int(y)) for x, y in pairs]


def test_a_curve_runs_from_corner_to_corner_of_its_range() -> None:
    (curve,) = chart({"seed 0": [0.0, 5.0, 10.0]}, low=0, high=10).curves
    middle = (LEFT + WIDTH - RIGHT) // 2, (TOP + HEIGHT - BOTTOM) // 2
    assert points(curve.points) == [(LEFT, HEIGHT - BOTTOM), middle, (WIDTH - RIGHT, TOP)]


def test_a_long_curve_keeps_its_ends_and_few_points() -> None:
    (curve,) = chart({"seed 0": [float(step) for step in range(5000)]}, low=0, high=4999).curves
    found = points(curve.points)
    assert len(found) == MOST_POINTS
    assert (found[0], found[-1]) == ((LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP))


def test_values_that_are_no_numbers_are_left_out() -> None:
    (curve,) = chart({"seed 0": [0.0, math.nan, math.inf, 1.0]}, low=0, high=1).curves
    assert len(points(curve.points)) == 2


def test_ticks_are_round_numbers_within_the_range() -> None:
    drawn = chart({"a": [0.0] * 128}, low=-13.2, high=44.1)
    assert [tick.label for tick in drawn.y_ticks] == ["0", "20", "40"]
    assert [tick.label for tick in drawn.x_ticks] == ["0", "50", "100"]


def test_constant_and_single_values_are_drawn() -> None:
    drawn = chart({"a": [3.0], "b": []}, low=3, high=3)
    assert points(drawn.curves[0].points) == [(LEFT, (TOP + HEIGHT - BOTTOM) // 2)]
    assert drawn.curves[1].points == ""
