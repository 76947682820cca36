import numpy as np
import pytest

from analysis.intervals import mean_interval


def test_by_hand() -> None:
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
