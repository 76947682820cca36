import numpy as np

from analysis.drawing.contrast import stretch_contrast, stretched_difference


def test_stretch_spreads_the_values_between_the_quantiles() -> None:
    image = np.array([[[100], [110]], [[120], [150]]], dtype=np.uint8)
    assert stretch_contrast(image, 0.0).ravel().tolist() == [0, 51, 102, 255]
    flat = np.full((2, 2, 3), 7, dtype=np.uint8)
    assert np.array_equal(stretch_contrast(flat, 0.01), flat)


def test_a_difference_is_mid_grey_without_a_change_and_its_largest_is_black_or_white() -> None:
    before = np.array([[[100], [100]], [[100], [100]]], dtype=np.uint8)
    after = np.array([[[100], [90]], [[140], [120]]], dtype=np.uint8)
    picture, largest = stretched_difference(before, after)
    assert picture.ravel().tolist() == [128, 96, 255, 191]
    assert largest == 40 / 255
    assert stretched_difference(before, before)[1] == 0
