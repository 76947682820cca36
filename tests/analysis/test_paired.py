"""Paired rates: McNemar's test against sums written out, Newcombe's interval against his table."""

from math import comb

import numpy as np
import pytest

from analysis.intervals import quantile_interval, wilson_interval
from analysis.paired import mcnemar, paired_difference


@pytest.mark.parametrize(("first", "second"), [(12, 2), (2, 12), (0, 1), (7, 7), (40, 25)])
def test_mcnemar_is_the_binomial_tail(first: int, second: int) -> None:
    total, smaller = first + second, min(first, second)
    tail = 2 * sum(comb(total, k) for k in range(smaller + 1)) / 2**total
    exact, mid = mcnemar(first, second)
    assert exact == pytest.approx(min(1, tail), abs=1e-12)
    assert mid == pytest.approx(min(1, tail - comb(total, smaller) / 2**total), abs=1e-12)


def test_mcnemar_of_no_and_of_many_differences() -> None:
    assert mcnemar(0, 0) == (1, 1)
    exact, mid = mcnemar(30_000, 30_600)
    assert 0.01 < mid < exact < 0.02
    with pytest.raises(ValueError, match="only_first is -1"):
        mcnemar(-1, 2)


def test_the_difference_is_newcombes_method_10() -> None:
    # The first example of table II of Newcombe 1998: 36, 12, 2, 0.
    difference, low, high = paired_difference(36, 12, 2, 0)
    assert difference == pytest.approx(0.2)
    assert (round(low, 4), round(high, 4)) == (0.0569, 0.3404)


def test_the_difference_of_the_other_order_has_the_other_sign() -> None:
    difference, low, high = paired_difference(5, 9, 3, 20)
    assert paired_difference(5, 3, 9, 20) == pytest.approx((-difference, -high, -low))
    assert low < difference < high


def test_without_any_success_the_bounds_are_those_of_wilson_combined() -> None:
    # Nothing is known of a correlation: the bounds are √(u² + u²) with Wilson's upper bound u of 0 in n.
    _, high = wilson_interval(0, 10)
    assert paired_difference(0, 0, 0, 10)[1:] == pytest.approx((-float(high), float(high)))


def test_no_subject_has_no_difference() -> None:
    assert np.isnan(paired_difference(0, 0, 0, 0)).all()
    with pytest.raises(ValueError, match="give numbers of at least 0"):
        paired_difference(1, 1, -1, 1)


def test_the_quantile_is_the_smallest_value_that_the_share_reaches() -> None:
    assert quantile_interval([4, 1, 3, 2], 0.5)[0] == 2
    assert quantile_interval([1, np.inf, np.inf], 0.5)[0] == np.inf
    assert np.isnan(quantile_interval([], 0.5)).all()


def test_the_bootstrap_is_that_of_resamples_drawn_one_by_one() -> None:
    values = np.sort(np.random.default_rng(1).exponential(size=60))
    generator = np.random.default_rng(2)
    medians = [np.sort(generator.choice(values, 60))[29] for _ in range(4000)]
    _, low, high = quantile_interval(values, 0.5, seed=3)
    # One value further in rank is what the chance of 4,000 resamples may move.
    places = [np.searchsorted(values, each) for each in (*np.percentile(medians, [2.5, 97.5]), low, high)]
    assert abs(places[0] - places[2]) <= 1
    assert abs(places[1] - places[3]) <= 1


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=500)
    assert quantile_interval(values, 0.5, seed=4) == quantile_interval(values, 0.5, seed=4)
    with pytest.raises(ValueError, match="share is 0"):
        quantile_interval(values, 0)
