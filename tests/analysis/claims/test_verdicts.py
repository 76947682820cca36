import math

import pytest

from analysis.claims import CLAIMS
from analysis.claims.claim import (
    AGREES,
    DISAGREES,
    NOT_MEASURED,
    NOT_REPRODUCED,
    PARTLY,
    REPRODUCED,
    UNDECIDED,
    Claimed,
    Measurement,
    above_zero,
    verdict,
)
from analysis.claims.rates import complement, rate, rate_difference
from analysis.claims.registry import SECTIONS


@pytest.mark.parametrize(
    ("low", "high", "finding"),
    [
        (0.3, 0.4, AGREES),
        (0.2, 0.5, AGREES),
        (0.1, 0.19, DISAGREES),
        (0.51, 0.6, DISAGREES),
        (0.1, 0.3, UNDECIDED),
        (0.4, 0.6, UNDECIDED),
        (0.1, 0.6, UNDECIDED),
        (math.nan, math.nan, UNDECIDED),
    ],
)
def test_a_measurement_agrees_only_with_its_whole_interval(low: float, high: float, finding: str) -> None:
    measured = Measurement(value=0.35, low=low, high=high, count=9)
    assert Claimed(0.2, 0.5).finding(measured) == finding


def test_no_difference_at_all_is_no_difference_in_the_stated_direction() -> None:
    assert above_zero().finding(Measurement(value=0, low=0, high=0, count=50)) == DISAGREES
    assert above_zero().finding(Measurement(value=0.1, low=0.001, high=0.2, count=50)) == AGREES
    assert above_zero().finding(Measurement(value=0.1, low=-0.001, high=0.2, count=50)) == UNDECIDED


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], NOT_MEASURED),
        ([AGREES], REPRODUCED),
        ([AGREES, AGREES], REPRODUCED),
        ([AGREES, DISAGREES], PARTLY),
        ([UNDECIDED, AGREES], PARTLY),
        ([DISAGREES, DISAGREES], NOT_REPRODUCED),
        ([DISAGREES, UNDECIDED], NOT_REPRODUCED),
        ([UNDECIDED], UNDECIDED),
    ],
)
def test_what_several_measurements_say_together(findings: list[str], expected: str) -> None:
    assert verdict(findings) == expected


@pytest.mark.parametrize(
    ("claimed", "form", "words"),
    [
        (Claimed(0.9, 1.0, "nearly all"), "share", "at least 90.0 % (nearly all)"),
        (Claimed(0.0, 0.05), "share", "at most 5.0 %"),
        (Claimed(0.25, 0.5), "share", "25.0 % to 50.0 %"),
        (above_zero("a gain"), "number", "above 0 (a gain)"),
        (Claimed(10_000_000, math.inf), "count", "at least 10,000,000"),
        (Claimed(-0.1, 0.1), "number", "-0.1 to 0.1"),
    ],
)
def test_rules_are_written_in_words(claimed: Claimed, form: str, words: str) -> None:
    assert claimed.describe(form) == words  # type: ignore[arg-type]


def test_the_difference_of_two_rates_has_the_interval_of_newcombes_tenth_method() -> None:
    # Newcombe 1998 (differences), table II: 56/70 minus 48/80, method 10.
    measured = rate_difference(rate(56, 70), rate(48, 80))
    assert (measured.value, measured.low, measured.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_the_share_of_the_others_has_the_mirrored_interval() -> None:
    one, other = rate(3, 10), complement(rate(7, 10))
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_each_claim_has_a_name_of_its_own_a_section_and_a_command() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.section for claim in CLAIMS} == set(SECTIONS)
    assert all(claim.command.startswith("python sweeps/") and claim.needs for claim in CLAIMS)
    # A number that the original states agrees with itself.
    numbers = [claim for claim in CLAIMS if claim.original is not None]
    assert len(numbers) == 7
    assert all(claim.claimed.low <= claim.original <= claim.claimed.high for claim in numbers)
