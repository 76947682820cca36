"""The named recipes, which users choose with `--recipes`.

A recipe is data: a parameterisation, an objective, an optimiser and stages of steps, each with its step size,
its priors and its random views. A new recipe is one more entry in `RECIPES`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from attrib_core.generation.objectives import CrossEntropy, L1Norm, Logit, LogitDistance, Objective
from attrib_core.generation.optimizers import SignDescent
from attrib_core.generation.parameterizations import DarkPyramid, Fourier, Pixels
from attrib_core.generation.priors import ColorJitter, MultiScaleResize, Prior, Smooth
from attrib_core.generation.pyramid_recipe import PyramidSettings, geometric_weights, pyramid_recipe
from attrib_core.generation.recipe import Recipe, Schedule, Stage, constant
from attrib_core.generation.recipe_files import LATER_FIELDS
from attrib_core.generation.transforms import ColorShift, RandomView, RandomViewOnBlack, Transform

gradient_descent = partial(torch.optim.SGD, lr=0.0)
adam = partial(torch.optim.Adam, lr=0.0)

_LOGIT_AND_L1 = LogitDistance(200.0) + 0.001 * L1Norm()
_BLUR = Smooth(kernel="gaussian", size=3, sigma=(0.8, 0.8), until=0.75)
_RESIZE = MultiScaleResize(until=0.75)
_JITTER = ColorJitter(brightness=0.0001)


def _original(
    *priors: Prior, objective: Objective = _LOGIT_AND_L1, transforms: tuple[Transform, ...] = ()
) -> Recipe:
    """Return the original work's descent: 100 steps of 0.15 on pixels from U(0, 1)/25 + 0.5."""
    stage = Stage(num_steps=100, step_size=constant(0.15), priors=priors, transforms=transforms)
    return Recipe(parameterization=Pixels(), objective=objective, optimizer=gradient_descent, stages=(stage,))


def _octaves() -> Recipe:
    """Return a recipe from coarse to fine: each stage enlarges and crops the image of the one before."""

    def stage(num_steps: int, step_size: float, *priors: Prior, zoom: float = 1.0) -> Stage:
        return Stage(num_steps=num_steps, step_size=constant(step_size), priors=priors, zoom=zoom)

    return Recipe(
        parameterization=Pixels(),
        objective=_LOGIT_AND_L1,
        optimizer=gradient_descent,
        stages=(
            stage(150, 0.1, Smooth(size=11, sigma=(2.2, 1.1))),
            stage(100, 0.11, Smooth(size=5, sigma=(1.1, 1.1)), zoom=1.2),
            stage(100, 0.08, Smooth(size=3, sigma=(0.8, 0.8)), zoom=1.2),
            stage(25, 0.03),
        ),
    )


def _from_noise(optimizer: Callable[[list[Tensor]], torch.optim.Optimizer], stage: Stage) -> Recipe:
    """Return one of the original work's first attempts: cross-entropy from uniform noise."""
    return Recipe(
        parameterization=Pixels(divisor=1.0, offset=0.0),
        objective=CrossEntropy(),
        optimizer=optimizer,
        stages=(stage,),
    )


def _lucid() -> Recipe:
    """Return lucid's defaults (Olah et al. 2017); transforms are drawn per image, not once a batch.

    Twelve pixels of grey around a 224-pixel image make views of 248; the two jitters add up to 12 pixels.
    """
    margin = 24 / 224
    view = RandomView(
        crop=((1 + margin) / 1.1, (1 + margin) / 0.9), rotation=10, translation=6 / 224, size=1 + margin
    )
    return Recipe(
        parameterization=Fourier(),
        objective=Logit(),
        optimizer=adam,
        stages=(Stage(num_steps=128, step_size=constant(0.05), transforms=(view,)),),
    )


def _small() -> Recipe:
    """Return a recipe for small images of one object on black, such as those of Fashion-MNIST and MNIST.

    A network of such images has seen no garment at half its size, turned far or from the other side, and no grey
    surroundings. So the views stay close to the image, and it starts dark and lies on black. With the logit alone,
    another network named 4 of 10 classes less often than with cross-entropy, which also says what not to draw.
    """
    view = RandomViewOnBlack(crop=(0.9, 1.1), rotation=8, aspect=0.05, translation=0.12)
    stage = Stage(
        num_steps=128,
        step_size=Schedule(0.15, 0.02, "cosine"),
        transforms=(view, ColorShift(contrast=0.1)),
    )
    return Recipe(
        parameterization=DarkPyramid(weights=geometric_weights(3.0, 0.25, 4), noise=0.02),
        objective=CrossEntropy(),
        optimizer=partial(torch.optim.Adam, lr=0.0, betas=(0.3, 0.99)),
        stages=(stage,),
    )


DEFAULT = PyramidSettings()
FAST = PyramidSettings(
    num_steps=56, step_size=0.1, final_step_size=0.015, sketch_share=0.4, coarse_share=1.0, num_sketches=1
)
# For publication: a quarter of the steps at full size, and the best of four by the network itself.
BEST = PyramidSettings(num_steps=256, coarse_share=0.75, fine_size=1.0, num_candidates=4)

PYRAMIDS: dict[str, PyramidSettings] = {"fast": FAST, "default": DEFAULT, "best": BEST}

# What these names meant in the version before: run directories that were begun with it go on with it.
_EARLIER_DEFAULT = replace(
    DEFAULT, num_steps=128, coarse_share=0.875, smallest_crop=0.4, largest_crop=1.1, **LATER_FIELDS
)
EARLIER_PYRAMIDS: dict[str, PyramidSettings] = {
    "default": _EARLIER_DEFAULT,
    "fast": replace(
        _EARLIER_DEFAULT,
        num_steps=64,
        step_size=0.12,
        final_step_size=0.015,
        coarse_share=1.0,
        coarse_size=3 / 7,
    ),
}

RECIPES: dict[str, Recipe] = {
    "plain": _original(),
    "blur": _original(_BLUR),
    "blur_resize": _original(_BLUR, _RESIZE),
    "blur_resize_jitter": _original(_BLUR, _RESIZE, _JITTER),
    "transform": _original(_BLUR, _RESIZE, _JITTER, transforms=(RandomView(rotation=36, translation=0.1),)),
    "octaves": _octaves(),
    "softmax_loss": _original(objective=CrossEntropy() + 0.001 * L1Norm()),
    "sign": _from_noise(SignDescent, Stage(num_steps=100, step_size=constant(0.01))),
    "noise_long": _from_noise(gradient_descent, Stage(num_steps=1000, step_size=constant(10_000.0))),
    "lucid": _lucid(),
    "small": _small(),
    **{name: pyramid_recipe(settings) for name, settings in PYRAMIDS.items()},
}
