"""Priors against hand-computed values and torchvision."""

import pytest
import torch
from torchvision.transforms import functional as vision

from attrib_core.generation.priors import (
    ColorJitter,
    Moment,
    MultiScaleResize,
    Smooth,
    enlarge_and_crop,
    multi_scale_size,
    smooth,
    smoothing_kernel,
)
from attrib_core.seeding import Randomness

FIRST = Moment(0, 100, 224)


def randomness(batch: int) -> Randomness:
    return Randomness([(0, image) for image in range(batch)])


def test_box_kernel_gives_the_documents_worked_example() -> None:
    image = torch.tensor([[1.0, 2, 3], [0, 10, 2], [1, 3, 0]])[None, None]
    blurred = smooth(image, smoothing_kernel("box", 3, sigma=1.0))
    assert blurred[0, 0, 1, 1].item() == pytest.approx(22 / 9)


def test_identity_kernel_changes_nothing() -> None:
    images = torch.rand(2, 3, 9, 9)
    assert torch.equal(smooth(images, smoothing_kernel("identity", 3, sigma=1.0)), images)


def test_laplacian_kernel_sums_to_zero_and_erases_a_flat_image() -> None:
    weights = smoothing_kernel("laplacian", 3, sigma=1.0)
    assert weights.sum() == 0
    assert weights[1, 1] == 2
    assert torch.equal(smooth(torch.ones(1, 3, 5, 5), weights), torch.zeros(1, 3, 5, 5))


@pytest.mark.parametrize(("size", "sigma"), [(3, 0.8), (5, 1.1), (11, 2.2)])
def test_gaussian_kernel_equals_torchvisions(size: int, sigma: float) -> None:
    images = torch.rand(2, 3, 32, 32)
    ours = smooth(images, smoothing_kernel("gaussian", size, sigma))
    torch.testing.assert_close(ours, vision.gaussian_blur(images, [size, size], [sigma, sigma]))


@pytest.mark.parametrize(("kernel", "size"), [("gaussian", 4), ("laplacian", 5)])
def test_an_impossible_kernel_size_is_refused(kernel: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"{kernel}.*{size}.*odd"):
        smoothing_kernel(kernel, size, sigma=1.0)  # type: ignore[arg-type]


def test_smoothing_stops_after_its_share_of_the_stage() -> None:
    images = torch.rand(1, 3, 8, 8)
    prior = Smooth(until=0.75)
    assert not torch.equal(prior(images, randomness(1), Moment(74, 100, 8)), images)
    assert torch.equal(prior(images, randomness(1), Moment(75, 100, 8)), images)


def test_multi_scale_sizes_follow_the_document_at_256_pixels() -> None:
    assert [multi_scale_size(step, 256) for step in range(6)] == [256, 100, 128, 156, 184, 256]


def test_multi_scale_resize_returns_to_full_size_after_its_share() -> None:
    images = torch.rand(1, 3, 224, 224)
    prior = MultiScaleResize(until=0.75)
    small = prior(images, randomness(1), Moment(1, 100, 224))
    assert small.shape[-1] == round(224 * 100 / 256)
    assert prior(small, randomness(1), Moment(75, 100, 224)).shape[-1] == 224


def test_brightness_jitter_is_one_factor_an_image_not_one_a_batch() -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    jittered = ColorJitter(brightness=0.05, clamp=False)(images, randomness(2), FIRST)
    factors = jittered.flatten(1) / 0.5
    assert (factors.amax(1) - factors.amin(1)).max() < 1e-6
    assert abs(factors[0, 0] - factors[1, 0]) > 1e-4
    assert ((factors - 1).abs() <= 0.05).all()


def test_jitter_clamps_like_torchvision_unless_told_otherwise() -> None:
    spiky = torch.tensor([-1.0, 0.5, 3.0]).expand(1, 3, 1, 3)
    clamped = ColorJitter(brightness=0.0001)(spiky, randomness(1), FIRST)
    assert clamped.min() >= 0
    assert clamped.max() <= 1
    assert ColorJitter(brightness=0.0001, clamp=False)(spiky, randomness(1), FIRST).max() > 2.9


def test_contrast_and_saturation_leave_a_grey_image_alone() -> None:
    grey = torch.full((1, 3, 4, 4), 0.3)
    jittered = ColorJitter(brightness=0, contrast=0.05, saturation=0.05)(grey, randomness(1), FIRST)
    torch.testing.assert_close(jittered, grey)


def test_enlarge_and_crop_keeps_the_size_and_the_centre() -> None:
    images = torch.zeros(1, 1, 20, 20)
    images[:, :, 8:12, 8:12] = 1
    enlarged = enlarge_and_crop(images, 1.5)
    assert enlarged.shape == images.shape
    assert enlarged.sum() == pytest.approx(16 * 1.5**2, rel=0.05)
    torch.testing.assert_close(enlarged, enlarged.flip(-1))
