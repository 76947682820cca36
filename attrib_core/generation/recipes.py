"""Named recipes: what users choose with `--recipes`.

A recipe is data: a parameterisation, an objective, an optimiser and stages of steps, each with its step size,
its priors and its random views. A new recipe is one more entry in `RECIPES`.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from attrib_core.generation.objectives import CrossEntropy, L1Norm, Logit, LogitDistance, Objective
from attrib_core.generation.optimizers import SignDescent
from attrib_core.generation.parameterizations import Fourier, Parameterization, Pixels
from attrib_core.generation.priors import ColorJitter, MultiScaleResize, Prior, Smooth
from attrib_core.generation.transforms import RandomView, Transform


@dataclass(frozen=True)
class Schedule:
    """A number that moves from `start` to `end` over a stage."""

    start: float
    end: float
    shape: Literal["linear", "cosine"] = "linear"

    def __call__(self, progress: float) -> float:
        """The value at `progress` in [0, 1]."""
        weight = progress if self.shape == "linear" else (1 - math.cos(math.pi * progress)) / 2
        return self.start + (self.end - self.start) * weight


def constant(value: float) -> Schedule:
    """A schedule that does not move."""
    return Schedule(value, value)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A run of steps under the same priors and views; `zoom` enlarges and crops the pixels at its start."""

    num_steps: int
    step_size: Schedule
    priors: tuple[Prior, ...] = ()
    transforms: tuple[Transform, ...] = ()
    zoom: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an image is made; priors and zooms act on pixels, so they need the `Pixels` parameterisation."""

    parameterization: Parameterization
    objective: Objective
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer]
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        acts_on_pixels = any(stage.priors or stage.zoom != 1 for stage in self.stages)
        if acts_on_pixels and not isinstance(self.parameterization, Pixels):
            raise ValueError("priors and zoom act on pixels: they need the Pixels parameterisation")

    @property
    def num_steps(self) -> int:
        """Updates over all stages."""
        return sum(stage.num_steps for stage in self.stages)

    def with_num_steps(self, num_steps: int) -> "Recipe":
        """The same recipe in another number of steps, shared over the stages in proportion."""
        ends, total = [0], self.num_steps
        for stage in self.stages:
            ends.append(ends[-1] + stage.num_steps)
        marks = [round(end * num_steps / total) for end in ends]
        stages = [
            replace(stage, num_steps=marks[i + 1] - marks[i]) for i, stage in enumerate(self.stages)
        ]
        return replace(self, stages=tuple(stages))


gradient_descent = partial(torch.optim.SGD, lr=0.0)
sign_descent = SignDescent
adam = partial(torch.optim.Adam, lr=0.0)

_LOGIT_AND_L1 = LogitDistance(200.0) + 0.001 * L1Norm()
_BLUR = Smooth(kernel="gaussian", size=3, sigma=(0.8, 0.8), until=0.75)
_RESIZE = MultiScaleResize(until=0.75)
_JITTER = ColorJitter(brightness=0.0001)


def _original(*priors: Prior, objective: Objective = _LOGIT_AND_L1, transforms: tuple[Transform, ...] = ()) -> Recipe:
    """The original work's descent: 100 steps of 0.15 on pixels from U(0, 1)/25 + 0.5."""
    stage = Stage(num_steps=100, step_size=constant(0.15), priors=priors, transforms=transforms)
    return Recipe(
        parameterization=Pixels(), objective=objective, optimizer=gradient_descent, stages=(stage,)
    )


def _octaves() -> Recipe:
    """Coarse to fine: each stage enlarges and crops the image of the one before it."""

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
    """The original work's first attempts: cross-entropy from uniform noise."""
    return Recipe(
        parameterization=Pixels(divisor=1.0, offset=0.0),
        objective=CrossEntropy(),
        optimizer=optimizer,
        stages=(stage,),
    )


def _lucid() -> Recipe:
    """lucid's defaults (Olah et al. 2017), its transforms drawn per image instead of once a batch.

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


RECIPES: dict[str, Recipe] = {
    "plain": _original(),
    "blur": _original(_BLUR),
    "blur_resize": _original(_BLUR, _RESIZE),
    "blur_resize_jitter": _original(_BLUR, _RESIZE, _JITTER),
    "transform": _original(
        _BLUR, _RESIZE, _JITTER, transforms=(RandomView(rotation=36, translation=0.1),)
    ),
    "octaves": _octaves(),
    "softmax_loss": _original(objective=CrossEntropy() + 0.001 * L1Norm()),
    "sign": _from_noise(sign_descent, Stage(num_steps=100, step_size=constant(0.01))),
    "noise_long": _from_noise(gradient_descent, Stage(num_steps=1000, step_size=constant(10_000.0))),
    "lucid": _lucid(),
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; ValueError names the recipes that exist."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"unknown recipe {name!r}{hint}; known recipes: {', '.join(RECIPES)}")
