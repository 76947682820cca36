"""Pyramid recipes: what their settings mean."""

import pytest
import torch

from attrib_core.generation import RECIPES, PyramidSettings, pyramid_recipe
from attrib_core.generation.objectives import CrossEntropy, Logit, MeanVariation
from attrib_core.generation.parameterizations import Pyramid


def test_default_keeps_to_its_budget_of_steps() -> None:
    assert RECIPES["default"].num_steps <= 128
    assert RECIPES["fast"].num_steps < RECIPES["default"].num_steps


def test_coarse_steps_come_first_and_the_step_size_falls_without_a_jump() -> None:
    recipe = pyramid_recipe(
        PyramidSettings(
            num_steps=100, sketch_share=0.25, coarse_share=0.6, step_size=0.1, final_step_size=0.02
        )
    )
    sketch, coarse, fine = recipe.stages
    assert (sketch.num_steps, coarse.num_steps, fine.num_steps) == (25, 35, 40)
    assert sketch.resolution < coarse.resolution < fine.resolution == 1.0
    assert sketch.step_size(0.0) == pytest.approx(0.1)
    assert sketch.step_size(1.0) == pytest.approx(coarse.step_size(0.0))
    assert coarse.step_size(1.0) == pytest.approx(fine.step_size(0.0))
    assert fine.step_size(1.0) == pytest.approx(0.02)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_recipe_may_have_one_stage_alone(share: float) -> None:
    settings = PyramidSettings(sketch_share=0.0, coarse_share=share)
    assert len(pyramid_recipe(settings).stages) == 1


def test_a_sketch_is_no_longer_than_the_coarse_steps() -> None:
    settings = PyramidSettings(num_steps=10, sketch_share=0.8, coarse_share=0.5)
    assert [stage.num_steps for stage in pyramid_recipe(settings).stages] == [5, 5]


def test_level_weights_fall_geometrically() -> None:
    recipe = pyramid_recipe(PyramidSettings(coarse_weight=4.0, fine_weight=1.0, num_levels=3))
    assert isinstance(recipe.parameterization, Pyramid)
    assert recipe.parameterization.weights == pytest.approx((4.0, 2.0, 1.0))


def test_the_objective_goes_from_the_logit_to_cross_entropy() -> None:
    logits, targets = torch.randn(4, 10), torch.tensor([0, 3, 9, 3])
    images = torch.rand(4, 3, 8, 8)
    logit, entropy = Logit()(logits, targets, images), CrossEntropy()(logits, targets, images)
    for share in (0.0, 0.25, 1.0):
        objective = pyramid_recipe(PyramidSettings(cross_entropy=share, total_variation=0.0)).objective
        expected = (1 - share) * logit + share * entropy
        torch.testing.assert_close(objective(logits, targets, images), expected)


@pytest.mark.parametrize("side", [8, 32])
def test_the_variation_of_an_edge_does_not_depend_on_the_size(side: int) -> None:
    images = torch.zeros(2, 3, side, side)
    images[0, :, : side // 2] = 1
    assert MeanVariation()(torch.zeros(2, 10), torch.zeros(2).long(), images).tolist() == [1, 0]
