"""Gradients of views and sizes: those of torch, and the same whatever the order and the neighbours."""

import pytest
import torch
from torch import Tensor

from attrib_core.generation import RECIPES, resampling
from attrib_core.generation.transforms import RandomView
from attrib_core.seeding import Randomness

BATCH, SIDE = 5, 24
VIEWS = {
    f"{name}, stage {number}": view
    for name, recipe in RECIPES.items()
    for number, stage in enumerate(recipe.stages)
    for view in stage.transforms
    if isinstance(view, RandomView)
} | {
    "far zoom": RandomView(crop=(0.02, 0.02), translation=None, size=2.0),
    "far outside": RandomView(crop=(3.0, 5.0), rotation=180, aspect=0.5),
}


def drawn(view: RandomView) -> tuple[Tensor, Tensor, int]:
    """Return matrices, a gradient and the size of views."""
    matrices = view._matrices(Randomness([("view", number) for number in range(BATCH)]))
    size = round(SIDE * view.size)
    # Of several magnitudes, as gradients are.
    gradient = torch.randn(BATCH, 3, size, size, generator=torch.Generator().manual_seed(1)) ** 5
    return matrices, gradient, size


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views_and_their_gradient_are_torchs(view: RandomView) -> None:
    matrices, gradient, size = drawn(view)
    images = torch.rand(BATCH, 3, SIDE, SIDE, requires_grad=True)
    expected = resampling.sample(images, matrices, size)
    found = resampling._Sampled.apply(images, matrices, size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    ours, theirs = (torch.autograd.grad(views, images, gradient)[0] for views in (found, expected))
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_the_order_of_the_terms_and_the_neighbours_change_no_bit(view: RandomView) -> None:
    matrices, gradient, size = drawn(view)
    grid = resampling.affine_grid(matrices, size)
    found = resampling.sampling_gradient(gradient, grid, SIDE)
    turned = resampling.sampling_gradient(gradient.flip(2, 3), grid.flip(1, 2), SIDE)
    assert torch.equal(turned, found)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(resampling.sampling_gradient(gradient[order], grid[order], SIDE), found[order])
    assert torch.equal(resampling.sampling_gradient(gradient[2:3], grid[2:3], SIDE), found[2:3])


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.0), (1e-30, 0.0), (float("nan"), float("nan"))])
def test_a_gradient_of_zeros_stays_zero_and_one_that_is_no_number_stays_none(value, expected) -> None:
    matrices, gradient, size = drawn(RandomView(rotation=20))
    gradient[1] = value
    found = resampling.sampling_gradient(gradient, resampling.affine_grid(matrices, size), SIDE)
    torch.testing.assert_close(found[1], torch.full_like(found[1], expected), equal_nan=True)
    assert found[[0, 2]].isfinite().all()


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("side", "size"), [(7, 14), (13, 24), (24, 13), (5, 28)])
def test_the_gradient_of_another_size_is_torchs(side: int, size: int, antialias: bool) -> None:
    images = torch.rand(2, 3, side, side, requires_grad=True)
    expected = resampling._interpolate(images, (size, size), antialias)
    found = resampling._Resized.apply(images, size, antialias)
    assert torch.equal(found, expected)
    gradient = torch.randn(expected.shape)
    ours, theirs = (torch.autograd.grad(each, images, gradient)[0] for each in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
