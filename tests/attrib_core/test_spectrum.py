"""Ripple and sharpness: closed forms, and photographs against patterns."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from attrib_core.generation.spectrum import luminance, radial_power, ripple, sharpness

SIDE = 224


def wave(cycles: float, amplitude: float, side: int = SIDE) -> Tensor:
    """Return a grey image `[1, 3, side, side]` of vertical stripes."""
    stripes = 0.5 + amplitude * torch.sin(2 * math.pi * cycles * torch.arange(side) / side)
    return stripes.expand(1, 3, side, side)


def test_noise_has_its_variance_at_every_frequency() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (32, 64, 64)))
    power = radial_power(noise).mean(0)
    assert power.shape == (33,)
    np.testing.assert_allclose(power[3:], 9, rtol=0.15)


def test_a_wave_has_its_power_at_its_frequency() -> None:
    power = radial_power(luminance(wave(40, 0.1)))[0]
    assert int(power.argmax()) == 40
    assert float(power[60:].max()) < 1e-6 * float(power[40])


@pytest.mark.parametrize(
    ("channels", "expected"), [(1, 51.0), (3, 0.299 * 255 * 0.2 + 0.587 * 255), (2, 153.0)]
)
def test_luminance_is_weighted_for_colours_only(channels: int, expected: float) -> None:
    values = torch.tensor([0.2, 1.0, 0.0])[:channels, None, None].expand(1, channels, 8, 8)
    np.testing.assert_allclose(luminance(values), expected, rtol=1e-6)


def test_a_pattern_over_everything_has_a_ripple_and_one_in_a_corner_has_none() -> None:
    everywhere = wave(SIDE / 8, 0.05)
    corner = everywhere.clone()
    corner[:, :, 64:] = 0.5
    corner[:, :, :, 64:] = 0.5
    assert float(ripple(everywhere)) > 0.9
    assert float(ripple(corner)) < 0.01
    # Waves that are too long, and too fine, are no ripple: hardly anything is left of them.
    flat = torch.full((1, 3, SIDE, SIDE), 0.5)
    assert float(ripple(flat)) < 0.01


def test_the_finest_detail_makes_an_image_sharp() -> None:
    soft, fine = wave(20, 0.2), wave(20, 0.2) + wave(80, 0.05) - 0.5
    assert float(sharpness(fine)) > float(sharpness(soft)) + 0.5
    # Ten times the contrast is a hundred times the power.
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.01, (1, 1, SIDE, SIDE)))
    low, high = sharpness(0.5 + noise), sharpness(0.5 + 10 * noise)
    assert float(high - low) == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 28, 31])
def test_images_of_less_than_two_blocks_have_no_ripple(channels: int, side: int) -> None:
    images = torch.rand(2, channels, side, side)
    assert ripple(images).isnan().all()
    assert sharpness(images).isfinite().all()


def test_an_image_is_measured_as_if_it_were_alone() -> None:
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for measure in (ripple, sharpness):
        assert torch.equal(measure(images), torch.cat([measure(images[row : row + 1]) for row in range(5)]))
