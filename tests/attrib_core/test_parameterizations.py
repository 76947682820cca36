"""Parameterisations: sizes, what a step moves, and agreement with written-out formulas."""

import numpy as np
import pytest
import torch

from attrib_core.generation.parameterizations import Fourier, Pixels, Pyramid, correlate_colours
from attrib_core.seeding import Randomness

ALL = [Pixels(), Fourier(), Pyramid()]


def randomness(batch: int = 2) -> Randomness:
    return Randomness([(3, image) for image in range(batch)])


@pytest.mark.parametrize("parameterization", ALL, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("size", [32, 45, 64])
def test_images_have_the_size_asked_for(parameterization, size: int) -> None:
    parameters = parameterization.initial(randomness(), size)
    assert all(len(each) == 2 for each in parameters)
    assert parameterization.render(parameters, size).shape == (2, 3, size, size)


def test_pixels_start_as_the_document_says() -> None:
    [pixels] = Pixels().initial(randomness(), 64)
    assert pixels.min() >= 0.5
    assert pixels.max() < 0.54
    [noise] = Pixels(divisor=1.0, offset=0.0).initial(randomness(), 64)
    assert noise.min() < 0.01
    assert noise.max() > 0.99


def test_fourier_rendering_is_an_inverse_transform_with_one_over_f_weights() -> None:
    """The same image by numpy: each coefficient over its frequency, no smaller than one period an image."""
    fourier, size = Fourier(), 16
    [coefficients] = fourier.initial(randomness(1), size)
    rendered = fourier.render([coefficients], size)[0]
    values = coefficients[0].numpy()
    vertical, horizontal = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    spectrum = (values[..., 0] + 1j * values[..., 1]) / np.maximum(np.hypot(vertical, horizontal), 1 / size)
    channels = np.fft.irfft2(spectrum, s=(size, size), norm="ortho") / 4
    expected = correlate_colours(torch.tensor(channels, dtype=torch.float32)[None]).sigmoid()[0]
    torch.testing.assert_close(rendered, expected)


def test_grey_is_one_decorrelated_channel_and_colour_the_others() -> None:
    """lucid's first channel moves all three colours alike, up to a few percent; the others tint."""
    light = torch.zeros(1, 3, 1, 1)
    light[:, 0] = 1
    red, green, blue = correlate_colours(light).flatten().tolist()
    assert red == pytest.approx(green, rel=0.05)
    assert blue == pytest.approx(green, rel=0.05)


def test_a_pyramid_doubles_from_level_to_level_up_to_the_image() -> None:
    assert Pyramid(weights=(1.0,) * 6).level_sizes(224) == [7, 14, 28, 56, 112, 224]
    assert Pyramid(weights=(1.0,) * 3).level_sizes(299) == [75, 150, 299]


def test_a_flat_coarsest_level_is_a_flat_image() -> None:
    pyramid = Pyramid(weights=(2.0, 1.0, 0.5))
    levels = [
        torch.full((1, 3, side, side), value) for side, value in zip((8, 16, 32), (0.3, 0, 0), strict=True)
    ]
    image = pyramid.render(levels, 32)
    expected = correlate_colours(torch.full((1, 3, 1, 1), 0.6)).sigmoid().expand_as(image)
    torch.testing.assert_close(image, expected)


def test_a_smaller_rendering_leaves_the_finest_levels_out() -> None:
    pyramid = Pyramid(weights=(1.0, 1.0, 1.0))
    levels = pyramid.initial(randomness(1), 32)
    small = pyramid.render(levels, 16)
    levels[2] += 1
    assert torch.equal(pyramid.render(levels, 16), small)
    assert small.shape[-1] == 16


def test_weights_set_how_far_a_level_moves_the_image() -> None:
    levels = [torch.zeros(1, 3, side, side, requires_grad=True) for side in (8, 16)]
    Pyramid(weights=(3.0, 0.5)).render(levels, 16)[0, 0].sum().backward()
    coarse, fine = (level.grad.abs().sum() for level in levels if level.grad is not None)
    assert coarse / fine == pytest.approx(6.0, rel=1e-4)
