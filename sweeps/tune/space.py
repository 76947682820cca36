"""The space that `tune_recipe.py` searches: ranges of a pyramid recipe's fields, all at one cost."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from attrib_core.generation import PyramidSettings, Recipe, pyramid_recipe
from attrib_core.generation.transforms import RandomView
from attrib_core.seeding import derive_seed


@dataclass(frozen=True)
class Range:
    """Where a field is searched; `log` draws its logarithm uniformly, `integer` a whole number."""

    low: float
    high: float
    scale: Literal["linear", "log", "integer"] = "linear"

    def at(self, share: float) -> float:
        """Return the value at `share` in [0, 1) of the range, to four digits: it is written into files."""
        if self.scale == "integer":
            return math.floor(self.low + (self.high + 1 - self.low) * share)
        if self.scale == "log":
            return float(f"{self.low * (self.high / self.low) ** share:.4g}")
        return float(f"{self.low + (self.high - self.low) * share:.4g}")


# Every field but `num_steps`, which the cost sets, and the numbers of tries, which multiply it. Two crops, or
# two sizes, never change places.
RANGES = {
    "step_size": Range(0.02, 0.5, "log"),
    "final_step_size": Range(0.001, 0.02, "log"),
    "momentum": Range(0.0, 0.95),
    "coarse_weight": Range(0.5, 8.0, "log"),
    "fine_weight": Range(0.05, 2.0, "log"),
    "num_levels": Range(4, 8, "integer"),
    "noise": Range(0.01, 0.5, "log"),
    "coarse_share": Range(0.4, 1.0),
    "coarse_size": Range(0.35, 0.6),
    "fine_size": Range(0.6, 1.0),
    "smallest_crop": Range(0.2, 0.7),
    "largest_crop": Range(0.8, 1.5),
    "rotation": Range(0.0, 45.0),
    "aspect": Range(0.0, 0.3),
    "brightness": Range(0.0, 0.3),
    "contrast": Range(0.0, 0.5),
    "color": Range(0.0, 0.2),
    "residual_gradient": Range(0.2, 1.0),
    "cross_entropy": Range(0.0, 1.0),
    "total_variation": Range(0.05, 5.0, "log"),
    "rectifier_width": Range(0.1, 4.0, "log"),
    "sketch_share": Range(0.0, 0.6),
    "sketch_size": Range(0.25, 0.5),
    "saturation": Range(0.3, 1.0),
}

# Nearly all points of a space of ten dimensions are worse than a base that was searched for: a sample keeps
# most of it.
NUM_CHANGED = 3

# What matters most: how far a step goes, at which scales, and what the network sees of the image.
DEFAULT_PARAMETERS = (
    "step_size",
    "momentum",
    "coarse_weight",
    "fine_weight",
    "coarse_share",
    "coarse_size",
    "smallest_crop",
    "largest_crop",
    "residual_gradient",
    "cross_entropy",
    "total_variation",
    "rectifier_width",
)


def sample_configurations(
    base: PyramidSettings, parameters: Sequence[str], num_samples: int, seed: int, image_size: int
) -> list[PyramidSettings]:
    """Return the base itself and `num_samples - 1` samples in which a few `parameters` are drawn anew.

    All cost what the base costs. A draw is keyed by (seed, sample, field), so the first samples are the same
    among few and among many.
    """
    cost = pixel_steps(pyramid_recipe(base), image_size)
    samples = [base]
    for index in range(1, num_samples):
        chosen = sorted(parameters, key=lambda name: derive_seed("choice", seed, index, name))[:NUM_CHANGED]
        values: dict[str, Any] = {name: RANGES[name].at(_share(seed, index, name)) for name in chosen}
        samples.append(at_cost(replace(base, **values), cost, image_size))
    return samples


def _share(seed: int, index: int, name: str) -> float:
    return derive_seed("value", seed, index, name) / 2**63


def at_cost(settings: PyramidSettings, cost: int, image_size: int) -> PyramidSettings:
    """Return the settings with as many steps as `cost` pixel-steps pay for, at least one."""

    def cost_of(num_steps: int) -> int:
        return pixel_steps(pyramid_recipe(replace(settings, num_steps=num_steps)), image_size)

    # A step sees at least one pixel, so that many steps are never affordable.
    steps = range(1, cost + 2)
    return replace(settings, num_steps=max(1, bisect.bisect_right(steps, cost, key=cost_of)))


def pixel_steps(recipe: Recipe, image_size: int) -> int:
    """Return the cost of an image: the pixels that the network sees, summed over the steps of all tries."""
    total = 0
    for index, stage in enumerate(recipe.stages):
        side = round(image_size * stage.resolution)
        for transform in stage.transforms:
            if isinstance(transform, RandomView):
                side = round(side * transform.size)
        total += (1 if index else recipe.num_sketches) * stage.num_steps * side**2
    return recipe.num_candidates * total


def changes(settings: PyramidSettings, base: PyramidSettings) -> str:
    """Return the fields in which the settings differ from the base: `step_size 0.3, noise 0.05`."""
    old = asdict(base)
    return ", ".join(f"{name} {value}" for name, value in asdict(settings).items() if value != old[name])
