import numpy as np
import pytest

from analysis.intervals import mean_interval, wilson_interval


# Newcombe 1998, table I, method 3.
@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_interval_agrees_with_published_values(successes: int, count: int, low: float, high: float) -> None:
    assert np.round(wilson_interval(successes, count), 4).tolist() == [low, high]


def test_a_rate_of_0_or_1_has_an_exact_bound_and_an_interval_of_some_width() -> None:
    low, high = wilson_interval([0, 10], [10, 10])
    assert low[0] == 0
    assert high[1] == 1
    assert np.round([high[0], low[1]], 4).tolist() == [0.2775, 0.7225]


def test_no_trials_leave_every_rate_possible() -> None:
    assert np.array(wilson_interval(0, 0)).tolist() == [0, 1]


def test_more_confidence_widens_the_interval() -> None:
    low, high = wilson_interval(5, 20, confidence=0.99)
    assert low < wilson_interval(5, 20)[0] < wilson_interval(5, 20)[1] < high


@pytest.mark.parametrize(
    ("successes", "count", "confidence"), [(11, 10, 0.95), (-1, 10, 0.95), (1, 10, 1.0), (1, 10, 95)]
)
def test_impossible_counts_and_confidences_are_refused(successes: int, count: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"successes is|confidence is"):
        wilson_interval(successes, count, confidence=confidence)


def test_the_interval_of_a_mean_by_hand() -> None:
    mean, low, high, count = mean_interval([1, 2, 3, 4])
    # s = sqrt(5/3), t(3) = 3.182: 2.5 ± 3.182 · 1.29099 / 2.
    assert (mean, count) == (2.5, 4)
    assert (low, high) == (pytest.approx(0.446, abs=0.003), pytest.approx(4.554, abs=0.003))


@pytest.mark.parametrize(
    ("count", "quantile"), [(2, 12.706), (3, 4.303), (4, 3.182), (6, 2.571), (16, 2.131), (10_001, 1.960)]
)
def test_the_half_width_is_students_quantile_from_the_table(count: int, quantile: float) -> None:
    values = np.random.default_rng(0).normal(size=count)
    mean, _, high, _ = mean_interval(values)
    assert (high - mean) / (values.std(ddof=1) / np.sqrt(count)) == pytest.approx(quantile, rel=0.002)


def test_nan_is_no_value_and_columns_are_apart() -> None:
    mean, low, high, count = mean_interval([[1, 5, np.nan], [3, np.nan, np.nan]])
    assert count.tolist() == [2, 1, 0]
    assert mean[:2].tolist() == [2, 5]
    assert np.isnan(mean[2])
    assert np.isnan([*low[1:], *high[1:]]).all()


def test_nineteen_of_twenty_intervals_hold_the_mean() -> None:
    values = np.random.default_rng(1).normal(3, 2, (5, 4000))
    _, low, high, _ = mean_interval(values)
    assert ((low < 3) & (high > 3)).mean() == pytest.approx(0.95, abs=0.015)


def test_a_confidence_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence is 95"):
        mean_interval([1, 2], confidence=95)
