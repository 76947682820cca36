import numpy as np
import pytest

from analysis.intervals import wilson_interval


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
