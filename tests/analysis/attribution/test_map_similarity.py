"""Measures of likeness between maps, against other libraries and closed forms."""

import numpy as np
import pandas as pd
import pytest
from skimage.metrics import structural_similarity as reference

from analysis.attribution.map_similarity import MEASURES, prepared_maps, similarity, structural_similarity


def pair(shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Five pairs of maps that are alike in part, with zeros."""
    first, noise = np.random.default_rng(seed).normal(size=(2, 5, *shape))
    return first * (first > -0.5), first + noise


@pytest.mark.parametrize(
    ("shape", "side"), [((28, 28), 7), ((9, 12), 7), ((7, 7), 7), ((5, 6), 5), ((4, 9), 3)]
)
def test_ssim_is_that_of_scikit_image(shape: tuple[int, int], side: int) -> None:
    first, second = (np.abs(each) / np.abs(each).max((1, 2), keepdims=True) for each in pair(shape))
    expected = [
        reference(a, b, win_size=side, data_range=1, use_sample_covariance=True)
        for a, b in zip(first, second, strict=True)
    ]
    assert structural_similarity(first, second) == pytest.approx(np.array(expected), abs=1e-12)


def test_ranks_are_those_of_pandas_and_the_cosine_is_the_formula() -> None:
    first, second = pair((9, 7))
    found = similarity(prepared_maps(first), prepared_maps(second))
    for index, (a, b) in enumerate(zip(first.reshape(5, -1), second.reshape(5, -1), strict=True)):
        signed, absolute = (pd.Series(x).corr(pd.Series(y), "spearman") for x, y in ((a, b), np.abs((a, b))))
        assert found["spearman"][index] == pytest.approx(signed)
        assert found["spearman_absolute"][index] == pytest.approx(absolute)
        cosine = np.abs(a) @ np.abs(b) / np.linalg.norm(a) / np.linalg.norm(b)
        assert found["cosine"][index] == pytest.approx(cosine)


def test_a_map_is_like_itself_and_its_negative_is_alike_but_for_the_sign() -> None:
    first, _ = pair((8, 8))
    same = similarity(prepared_maps(first), prepared_maps(3 * first))
    assert all(same[name] == pytest.approx(np.ones(5)) for name in MEASURES)
    opposite = similarity(prepared_maps(first), prepared_maps(-first))
    assert opposite["spearman"] == pytest.approx(-np.ones(5))
    assert all(opposite[name] == pytest.approx(np.ones(5)) for name in set(MEASURES) - {"spearman"})


@pytest.mark.parametrize("broken", [np.zeros((8, 8)), np.full((8, 8), 2.0), np.full((8, 8), np.nan)])
def test_a_constant_map_is_like_nothing(broken: np.ndarray) -> None:
    first, _ = pair((8, 8))
    other = first.copy()
    other[2] = broken
    found = similarity(prepared_maps(first), prepared_maps(other))
    for name in MEASURES:
        assert np.isnan(found[name]).tolist() == [False, False, True, False, False]


def test_random_order_keeps_zeros_and_values_and_belongs_to_the_seed() -> None:
    first, _ = pair((8, 8))
    maps = prepared_maps(first)
    shuffled, again = (maps.shuffled(np.arange(5)) for _ in range(2))
    assert np.array_equal(shuffled.absolute, again.absolute)
    assert np.array_equal(shuffled.absolute == 0, maps.absolute == 0)
    assert np.array_equal(np.sort(shuffled.absolute.reshape(5, -1)), np.sort(maps.absolute.reshape(5, -1)))
    # Ranks move with their values.
    assert similarity(shuffled, shuffled)["spearman"] == pytest.approx(np.ones(5))
    assert abs(similarity(maps, shuffled)["spearman"].mean()) < 0.5
