"""The recipes that this project found: a pyramid, seen through random views, coarse scales first.

`sweeps/tune_recipe.py` searches the numbers in `PyramidSettings`; `default` and `fast` are two choices of them.
What matters most if an image must convince people, and networks that did not make it: gradients that fade out at
a ReLU's kink instead of ending there, which brings shapes; total variation, which takes away every ripple that the
network does not need; views that differ between steps and images and show most of the image; more weight on the
coarse levels of the pyramid, and first steps that see a small image; gradients that flow through a network's
shortcuts more than through its residual branches; and some cross-entropy beside the logit, which says what the
image is not of.
"""

from dataclasses import dataclass
from functools import partial

import torch

from attrib_core.generation.objectives import CrossEntropy, Logit, MeanVariation, Objective
from attrib_core.generation.parameterizations import MutedPyramid, Pyramid
from attrib_core.generation.recipe import Recipe, Schedule, Stage
from attrib_core.generation.transforms import ColorShift, RandomView, Transform


@dataclass(frozen=True, kw_only=True)
class PyramidSettings:
    """The numbers of a pyramid recipe, by default those of `default`; sizes are shares of the image's side length.

    Files that were written before the last eight existed lack them; `recipe_files` says what they mean.
    """

    num_steps: int = 96
    step_size: float = 0.08
    final_step_size: float = 0.01
    momentum: float = 0.3  # Adam's β₁: small, since every step sees another view
    coarse_weight: float = 3.0
    fine_weight: float = 0.25
    num_levels: int = 6
    noise: float = 0.1
    coarse_share: float = 0.92  # of the steps, on an image rendered at `coarse_size`
    coarse_size: float = 0.5
    fine_size: float = 5 / 7  # of the views in the other steps, which render the image at full size
    smallest_crop: float = 0.58
    largest_crop: float = 1.35
    rotation: float = 20.0  # degrees
    aspect: float = 0.1
    brightness: float = 0.1
    contrast: float = 0.2
    color: float = 0.05
    residual_gradient: float = 0.5
    cross_entropy: float = 0.5  # its share of the objective; the rest is the logit
    total_variation: float = 0.8  # its weight beside them: see `MeanVariation`
    rectifier_width: float = 1.0  # of the softened gradient of ReLUs, in their input's units
    sketch_share: float = (
        0.4  # of the steps, the first of the coarse ones, on an image rendered at `sketch_size`
    )
    sketch_size: float = 5 / 14
    saturation: float = 0.6  # of colours, against their covariance in photographs
    num_sketches: int = 3  # first stages, of which the best by the network itself goes on
    num_candidates: int = 1  # images that are made of each, of which the best by the network itself is kept


def pyramid_recipe(settings: PyramidSettings) -> Recipe:
    """Return the recipe of these settings: a sketch, then coarse steps, then fine ones, where there are any."""
    total = settings.num_steps
    end_of_coarse = round(total * settings.coarse_share)
    end_of_sketch = min(round(total * settings.sketch_share), end_of_coarse)

    def stage(first: int, end: int, resolution: float, view_size: float = 1.0) -> Stage:
        return Stage(
            num_steps=end - first,
            step_size=Schedule(
                settings.step_size, settings.final_step_size, "cosine", (first / total, end / total)
            ),
            transforms=_views(settings, view_size),
            resolution=resolution,
        )

    stages = (
        stage(0, end_of_sketch, settings.sketch_size),
        stage(end_of_sketch, end_of_coarse, settings.coarse_size),
        stage(end_of_coarse, total, 1.0, settings.fine_size),
    )
    return Recipe(
        parameterization=_pyramid(settings),
        objective=_objective(settings),
        optimizer=partial(torch.optim.Adam, lr=0.0, betas=(settings.momentum, 0.99)),
        stages=tuple(each for each in stages if each.num_steps),
        residual_gradient=settings.residual_gradient,
        rectifier_width=settings.rectifier_width,
        num_candidates=settings.num_candidates,
        num_sketches=settings.num_sketches,
    )


def _pyramid(settings: PyramidSettings) -> Pyramid:
    weights = geometric_weights(settings.coarse_weight, settings.fine_weight, settings.num_levels)
    if settings.saturation == 1:
        return Pyramid(weights=weights, noise=settings.noise)
    return MutedPyramid(weights=weights, noise=settings.noise, saturation=settings.saturation)


def _objective(settings: PyramidSettings) -> Objective:
    """Return the sum of the terms whose weight is not 0."""
    share, variation = settings.cross_entropy, settings.total_variation
    objective: Objective = Logit()
    if share == 1:
        objective = CrossEntropy()
    elif share:
        objective = (1 - share) * Logit() + share * CrossEntropy()
    return objective + variation * MeanVariation() if variation else objective


def geometric_weights(coarse: float, fine: float, num_levels: int) -> tuple[float, ...]:
    """Return weights that fall geometrically from the coarsest level to the finest."""
    ratio = (fine / coarse) ** (1 / max(num_levels - 1, 1))
    return tuple(coarse * ratio**level for level in range(num_levels))


def _views(settings: PyramidSettings, size: float) -> tuple[Transform, ...]:
    """Return transforms that draw a view for each image and step; `size` is its share of the rendered image."""
    view = RandomView(
        crop=(settings.smallest_crop, settings.largest_crop),
        rotation=settings.rotation,
        aspect=settings.aspect,
        translation=None,
        flip=True,
        size=size,
    )
    colors = ColorShift(contrast=settings.contrast, brightness=settings.brightness, color=settings.color)
    return view, colors
