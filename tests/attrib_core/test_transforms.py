"""Random views: what stays, what moves, and that each image has its own."""

import pytest
import torch

from attrib_core.generation.transforms import ColorShift, RandomView
from attrib_core.seeding import Randomness

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def randomness(batch: int = 2) -> Randomness:
    return Randomness([(0, image) for image in range(batch)])


def test_the_default_view_is_the_image_itself() -> None:
    torch.testing.assert_close(RandomView()(IMAGES, randomness()), IMAGES)


def test_a_view_has_the_size_asked_for() -> None:
    assert RandomView(crop=(0.5, 1.0), size=0.75)(IMAGES, randomness()).shape == (2, 3, 12, 12)


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = torch.linspace(0, 1, 16).expand(64, 3, 16, 16)
    views = RandomView(flip=True)(images, randomness(64))
    mirrored = (views[:, 0, 0, 0] > views[:, 0, 0, -1]).sum().item()
    assert 16 < mirrored < 48


def test_each_image_is_turned_by_an_angle_of_its_own() -> None:
    same = IMAGES[:1].expand(2, 3, 16, 16)
    views = RandomView(rotation=36)(same, randomness())
    assert (views[0] - views[1]).abs().max() > 0.05


def test_a_free_crop_stays_inside_the_image() -> None:
    """Outside lies grey 0.5: an all-white image shows it wherever a crop leaves the image."""
    views = RandomView(crop=(0.3, 0.8), translation=None)(torch.ones(32, 3, 32, 32), randomness(32))
    # Bilinear samples of the outermost half pixel mix with what lies outside.
    assert (views[:, :, 1:-1, 1:-1] > 0.999).all()


def test_outside_the_image_lies_grey() -> None:
    views = RandomView(crop=(2.0, 2.0))(torch.ones(1, 3, 16, 16), randomness(1))
    assert views[0, 0, 0, 0] == pytest.approx(0.5)
    assert views[0, 0, 8, 8] == pytest.approx(1.0)


def test_a_view_is_differentiable() -> None:
    images = IMAGES.clone().requires_grad_()
    RandomView(crop=(0.5, 1.0), rotation=10)(images, randomness()).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_a_colour_shift_is_one_factor_and_three_offsets_an_image() -> None:
    views = ColorShift(contrast=0.2, brightness=0.1, color=0.05)(IMAGES, randomness())
    for before, after in zip(IMAGES, views, strict=True):
        slopes = (after[:, 0, 0] - after[:, 1, 1]) / (before[:, 0, 0] - before[:, 1, 1])
        torch.testing.assert_close(slopes, slopes[:1].expand(3), rtol=1e-3, atol=1e-3)
        assert 0.81 <= slopes[0] <= 1.23
