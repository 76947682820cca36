"""Ranges and lists: what is accepted, and how a bad element is named."""

import re

import pytest

from sweeps.ranges import format_integers, parse_integers, parse_names, parse_numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", (5,)),
        ("0-3", (0, 1, 2, 3)),
        ("0-2,291", (0, 1, 2, 291)),
        ("291,0-1", (0, 1, 291)),
        ("all", tuple(range(1000))),
    ],
)
def test_integers(text: str, expected: tuple[int, ...]) -> None:
    assert parse_integers("classes", text, limit=1000) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0-1000", "'0-1000' is past the last, 999"),
        ("1000", "'1000' is past the last, 999"),
        ("x", "'x' is not an integer or a range"),
        ("-3", "'-3' is not an integer"),
        ("1.5", "'1.5' is not an integer"),
        ("5-2", "'5-2' runs backwards"),
        ("1,,2", "empty element"),
        ("", "empty element"),
        ("1-3,2", "2 is listed twice"),
        ("0-99999999999", "past the last"),
    ],
)
def test_a_bad_element_is_named_with_its_field(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_integers("classes", text, limit=1000)
    assert str(caught.value).startswith("classes: ")


def test_an_endless_range_is_refused_even_without_a_limit() -> None:
    with pytest.raises(ValueError, match=r"seeds: .* more than"):
        parse_integers("seeds", "0-99999999999")


def test_all_needs_a_limit() -> None:
    with pytest.raises(ValueError, match="'all' is not an integer"):
        parse_integers("seeds", "all")


@pytest.mark.parametrize("values", [(0,), (0, 1, 2), (0, 2, 4), (1, 2, 3, 291, 999), tuple(range(1000))])
def test_formatting_is_the_inverse_of_parsing(values: tuple[int, ...]) -> None:
    assert parse_integers("classes", format_integers(values)) == values


def test_names() -> None:
    assert parse_names("recipes", "blur,plain", ("plain", "blur")) == ("blur", "plain")
    assert parse_names("recipes", "all", ("plain", "blur")) == ("plain", "blur")
    with pytest.raises(ValueError, match=r"recipes: unknown name 'blurr'.*plain, blur"):
        parse_names("recipes", "blurr", ("plain", "blur"))


def test_numbers_and_fractions_keep_their_order_and_are_divided_once() -> None:
    assert parse_numbers("epsilons", "0.1,0,0.25/255, 1/255", low=0, high=1) == (
        0.1,
        0.0,
        0.25 / 255,
        1 / 255,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1,x", "epsilons: 'x' is not a number; accepted: numbers and fractions"),
        ("1/0", "epsilons: '1/0' is not a number"),
        ("1/2/3", "epsilons: '1/2/3' is not a number"),
        ("0.1,-1", "epsilons: '-1' is out of range; accepted: numbers and fractions such as"),
        ("nan", "epsilons: 'nan' is out of range"),
        ("inf", "epsilons: 'inf' is out of range"),
        ("", "epsilons: '' has an empty element"),
        ("0.5,1/2", "epsilons: 0.5 is listed twice"),
    ],
)
def test_numbers_that_cannot_be(text, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_numbers("epsilons", text, low=0, high=1)
