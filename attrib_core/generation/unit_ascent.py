"""Images of units: what most activates a channel, a neuron in the middle, or a direction in a layer's channels.

The recipes and the ascent are those of images of classes; the activation takes the place of the target's logit
(Olah et al. 2017, Distill, 'Feature Visualization'). A pass ends at the layer. All random numbers of an image are
keyed by (sweep seed, layer, unit, seed, member, step), so that it does not depend on its batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from attrib_core.generation.ascent import Size, ascend
from attrib_core.generation.batch_state import Observer
from attrib_core.generation.diversity import diversity_losses
from attrib_core.generation.recipe import Recipe
from attrib_core.generation.soft_rectifiers import soft_rectifiers
from attrib_core.prepared import PreparedModel
from attrib_core.seeding import Key
from attrib_core.units import Directions, Layer, Readout, UnitName, layer_output


class UnitCell(NamedTuple):
    """A unit and a seed. Its images, one or several, are made in one pass."""

    unit: UnitName
    seed: int


@dataclass(frozen=True, kw_only=True)
class UnitTask:
    """What the images of units of one layer have in common; each cell has `num_members` images."""

    layer: Layer
    directions: Directions
    recipe: Recipe  # as `recipe_of_units` returns it
    image_size: int
    num_members: int = 1
    sweep_seed: int = 0
    repeatable: bool = True


@dataclass(frozen=True, kw_only=True)
class GeneratedUnits:
    """Finished images and their trajectories, on the CPU: the members of one cell after those of another."""

    images: Tensor  # [B, C, H, W] in [0, 1]
    clipped_share: Tensor  # [B], share of values that lay outside [0, 1] before clipping
    activation_by_step: Tensor  # [B, T], on the view that the step saw
    loss_by_step: Tensor  # [B, T]


def recipe_of_units(recipe: Recipe, where: str) -> Recipe:
    """Return the recipe with its objective's counterpart for units.

    Raises ValueError, beginning with `where`, for an objective that has none.
    """
    try:
        return replace(recipe, objective=recipe.objective.of_units())
    except ValueError as error:
        raise ValueError(
            f"{where}: {error}; accepted for units are recipes whose objectives are of this project"
        ) from None


def generate_unit_cells(
    model: PreparedModel, task: UnitTask, cells: Sequence[UnitCell], observe: Observer | None = None
) -> GeneratedUnits:
    """Make the images of cells, as many as fit into one pass of the model; return them with their trajectories.

    `observe` is called as by `generate_batch`.
    """
    aim = _UnitsOfLayer(model, task, cells)
    size = Size(len(cells) * task.num_members, task.image_size)
    found = ascend(model, task.recipe, aim, size, repeatable=task.repeatable, observe=observe)
    names = [field.name for field in fields(GeneratedUnits)]
    return GeneratedUnits(**dict(zip(names, found, strict=True)))


class _UnitsOfLayer:
    """Images of units of one layer.

    The cells are padded with copies of the last one, as many as fit into a pass, and then with single images. So
    every tensor has one shape, and the members of a cell are compared with one another alone.
    """

    def __init__(self, model: PreparedModel, task: UnitTask, cells: Sequence[UnitCell]) -> None:
        self._model, self._task = model, task
        missing = model.batch_size // task.num_members - len(cells)
        assert missing >= 0, (
            f"{len(cells)} cells of {task.num_members} images in a pass of {model.batch_size}"
        )
        padded = [*cells, *[cells[-1]] * missing]
        rows = [(cell, member) for cell in padded for member in range(task.num_members)]
        self._rows = [*rows, *[rows[-1]] * (model.batch_size - len(rows))]
        units = [cell.unit for cell, _ in self._rows]
        self._readout = Readout.of(model, task.layer, units, task.directions)
        self._targets = torch.zeros(len(units), dtype=torch.int64, device=model.device)

    @property
    def name(self) -> Key:
        cell, _ = self._rows[0]
        return (self._task.sweep_seed, "units", self._task.layer.name, str(cell.unit), cell.seed)

    @property
    def group(self) -> int:
        return self._task.num_members

    def keys(self, step: int) -> list[Key]:
        task = self._task
        return [
            (task.sweep_seed, task.layer.name, str(cell.unit), cell.seed, member, step)
            for cell, member in self._rows
        ]

    def evaluate(self, views: Tensor, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        task = self._task
        with soft_rectifiers(task.recipe.rectifier_width):
            output = layer_output(self._model, task.layer, views)
        activations = self._readout(output)
        losses = task.recipe.objective(activations[:, None], self._targets, images)
        if task.num_members > 1:
            by_channel = task.layer.by_channel(output)
            losses = losses + diversity_losses(by_channel, activations, task.num_members)
        return losses, (activations.detach(), losses.detach())
