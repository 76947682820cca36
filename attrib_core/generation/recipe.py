"""A recipe and its parts: a parameterisation, an objective, an optimiser and stages of steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from attrib_core.generation.objectives import Objective
from attrib_core.generation.parameterizations import Parameterization, Pixels
from attrib_core.generation.priors import Prior
from attrib_core.generation.transforms import Transform


@dataclass(frozen=True)
class Schedule:
    """A number that moves from `start` to `end`; one stage covers the part `span` of the way."""

    start: float
    end: float
    shape: Literal["linear", "cosine"] = "linear"
    span: tuple[float, float] = (0.0, 1.0)

    def __call__(self, progress: float) -> float:
        """Return the value at the stage's `progress` in [0, 1]."""
        first, last = self.span
        way = first + (last - first) * progress
        weight = way if self.shape == "linear" else (1 - math.cos(math.pi * way)) / 2
        return self.start + (self.end - self.start) * weight


def constant(value: float) -> Schedule:
    """Return a schedule of one constant value."""
    return Schedule(value, value)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Consecutive steps with the same priors and views.

    `zoom` enlarges and crops the pixels at the start; `resolution` is the size at which the image is rendered for
    the views, as a share of its final size.
    """

    num_steps: int
    step_size: Schedule
    priors: tuple[Prior, ...] = ()
    transforms: tuple[Transform, ...] = ()
    zoom: float = 1.0
    resolution: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A complete description of how an image is made.

    Priors and zooms act on pixels, so they need the `Pixels` parameterisation. `residual_gradient` scales the
    gradient that flows back through the network's residual branches, where it has any; `rectifier_width` is
    that of the softened gradient of its ReLUs, 0 for the true one. Of `num_candidates` images the
    best is kept, and of `num_sketches` images after the first stage.
    """

    parameterization: Parameterization
    objective: Objective
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer]
    stages: tuple[Stage, ...]
    residual_gradient: float = 1.0
    # Not in `repr`, so that digests of recipes without them stay what they were.
    rectifier_width: float = field(default=0.0, repr=False)
    num_candidates: int = field(default=1, repr=False)
    num_sketches: int = field(default=1, repr=False)

    def __post_init__(self) -> None:
        acts_on_pixels = any(stage.priors or stage.zoom != 1 for stage in self.stages)
        if acts_on_pixels and not isinstance(self.parameterization, Pixels):
            raise ValueError("priors and zoom act on pixels: they need the Pixels parameterisation")

    @property
    def num_steps(self) -> int:
        """Number of updates of all stages."""
        return sum(stage.num_steps for stage in self.stages)

    def with_num_steps(self, num_steps: int) -> "Recipe":
        """Return the recipe with another number of steps; each stage keeps its share of them."""
        ends, total = [0], self.num_steps
        for stage in self.stages:
            ends.append(ends[-1] + stage.num_steps)
        marks = [round(end * num_steps / total) for end in ends]
        stages = [replace(stage, num_steps=marks[i + 1] - marks[i]) for i, stage in enumerate(self.stages)]
        return replace(self, stages=tuple(stages))
