"""Images of units from one call: which network makes them, how large a pass is, and all batches in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from attrib_core.classifiers import Classifier, with_folded_batch_norms
from attrib_core.classifiers.checks import as_whole_number, whole_numbers
from attrib_core.generation.ascent import SMALLEST_IMAGE
from attrib_core.generation.recipe import Recipe
from attrib_core.generation.recipe_references import find_recipe
from attrib_core.generation.unit_ascent import (
    GeneratedUnits,
    UnitCell,
    UnitTask,
    generate_unit_cells,
    recipe_of_units,
)
from attrib_core.numerics import gradients_enabled
from attrib_core.prepared import PreparedModel, check_model, default_batch_size, prepare, whole_batch
from attrib_core.units import Layer, choose_units, layer_output

# Far above rounding errors of float32, far below how a layer's output differs from that of its batch norm.
LARGEST_RELATIVE_DIFFERENCE = 1e-3


@gradients_enabled()
def generate_units(
    model: Classifier | PreparedModel,
    units: str,
    seeds: Sequence[int] = (0,),
    recipe: Recipe | str = "default",
    *,
    directions: Mapping[str, Tensor] | None = None,
    num_members: int = 1,
    image_size: int | None = None,
    sweep_seed: int = 0,
) -> dict[str, GeneratedUnits]:
    """Generate images of units, such as `blocks.4.1:0-7,12`: of each layer, seed by seed and unit by unit.

    `choose_units` says how units are written, also of `directions`: `blocks.4.1:stripes` of `{"stripes": tensor}`.
    `num_members` images of each unit and seed are made unlike each other; they follow one another. Raises
    ValueError for units, seeds, recipes and sizes that are none.
    """
    given = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    chosen = recipe_of_units(given, "recipe" if isinstance(recipe, Recipe) else f"recipe={recipe!r}")
    check_model(model)
    classifier = model if isinstance(model, Classifier) else model.classifier
    size = as_whole_number(classifier.image_size if image_size is None else image_size)
    if size is None or not size >= SMALLEST_IMAGE:
        raise ValueError(f"image_size={image_size}: accepted are whole numbers from {SMALLEST_IMAGE}")
    members, numbers = as_whole_number(num_members), whole_numbers("seeds", seeds)
    if members is None or members < 1:
        raise ValueError(f"num_members={num_members!r}: accepted are whole numbers from 1")
    if not numbers or min(numbers) < 0:
        raise ValueError(f"seeds: {numbers}; accepted are whole numbers from 0, at least one")
    one = prepare(model, batch_size=1) if isinstance(model, Classifier) else model
    found = choose_units(units, one, size, directions)
    images: dict[str, GeneratedUnits] = {}
    for name, layer in found.layers.items():
        cells = [UnitCell(unit, seed) for seed in numbers for unit in found.names[name]]
        task = UnitTask(
            layer=layer,
            directions=found.directions,
            recipe=chosen,
            image_size=size,
            num_members=members,
            sweep_seed=sweep_seed,
        )
        images[name] = _all_cells(_generator(model, task, len(cells)), task, cells)
    return images


def batch_size_for(batch_size: int, num_members: int) -> int:
    """Return the batch size, or the least above it that holds all images of a cell."""
    return batch_size if num_members <= batch_size else whole_batch(num_members)


def gives_the_same(plain: PreparedModel, folded: PreparedModel, layer: Layer, image_size: int) -> bool:
    """Return True if the layer gives the same in a network with folded batch norms, rounding aside.

    A convolution gives there what its batch norm gave, and a layer within a batch norm is no longer there.
    """
    if plain.classifier is folded.classifier:
        return True
    if layer.name not in dict(folded.classifier.network.named_modules()):
        return False
    side = plain.view_size(image_size)
    noise = torch.rand(1, plain.classifier.channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = (layer_output(each.in_float32(), layer, noise) for each in (plain, folded))
    difference = (found - expected).abs().max()
    return bool(difference <= LARGEST_RELATIVE_DIFFERENCE * expected.abs().max())


def _generator(model: Classifier | PreparedModel, task: UnitTask, num_cells: int) -> PreparedModel:
    """Return the model prepared for these images, with folded batch norms where the layer is the same."""
    members = task.num_members
    if isinstance(model, PreparedModel):
        if model.batch_size < members:
            raise ValueError(
                f"num_members={members}: the model's passes have {model.batch_size} images; accepted are no more"
            )
        return model
    plain = prepare(model, batch_size=1)
    sizes = (task.image_size, task.image_size)
    size = batch_size_for(default_batch_size(plain.device, sizes, num_cells * members), members)
    plain.batch_size = size
    folded = prepare(with_folded_batch_norms(model), batch_size=size)
    return folded if gives_the_same(plain, folded, task.layer, task.image_size) else plain


def _all_cells(model: PreparedModel, task: UnitTask, cells: Sequence[UnitCell]) -> GeneratedUnits:
    """Return the images of all cells, in as many passes as they need."""
    members = task.num_members
    batches = model.in_passes(
        len(cells) * members,
        lambda rows: generate_unit_cells(model, task, cells[rows.start // members : rows.stop // members]),
        together=members,
    )
    names = [field.name for field in fields(GeneratedUnits)]
    return GeneratedUnits(**{name: torch.cat([getattr(each, name) for each in batches]) for name in names})
