"""The actor's side of images of units: one pinned model, and shards of cells of one layer."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
from torch import Tensor

from attrib_core.classifiers import (
    Checkpoint,
    Classifier,
    InputScaling,
    build_classifier,
    with_folded_batch_norms,
)
from attrib_core.errors import first_line, in_one_line
from attrib_core.execution import is_out_of_memory
from attrib_core.generation import (
    Recipe,
    UnitCell,
    UnitTask,
    generate_unit_cells,
    recipe_of_units,
    to_8_bits,
)
from attrib_core.generation.unit_evaluation import UnitVerdict, evaluate_units
from attrib_core.generation.unit_images import batch_size_for, gives_the_same
from attrib_core.prepared import PreparedModel, prepare, whole_batch
from attrib_core.units import Units
from sweeps.commit import commit_shard
from sweeps.generate.recipe_sources import RecipeSource, built
from sweeps.plan import Shard
from sweeps.schemas import unit_results
from sweeps.store import RunDirectory, columns_table
from sweeps.units.rows import MadeBatch, MadeShard, UnitAxes, image_table, result_columns


@dataclass(frozen=True, kw_only=True)
class UnitSettings:
    """What an actor needs to know; the weights and units come apart from it, through the object store."""

    output: str
    recipes: Mapping[str, RecipeSource]
    image_size: int
    input_scaling: InputScaling
    num_steps: int | None
    num_members: int
    sweep_seed: int
    batch_size: int | None
    precision: str
    repeatable: bool = True
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class UnitInputs:
    """The model's checkpoint, and the chosen units with their layers and directions."""

    model: Checkpoint
    units: Units

    def products(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the layers with their units, those of each file apart.

        So no shard of channels needs a file that a later command may not name.
        """
        for layer, names in self.units.names.items():
            for source in dict.fromkeys(name.source for name in names):
                yield layer, tuple(str(name) for name in names if name.source == source)


def recipes_of_units(recipes: Mapping[str, RecipeSource]) -> dict[str, Recipe]:
    """Return the recipes with objectives of units. Raises ValueError for one that has none."""
    return {name: recipe_of_units(built(source), f"recipes: {name!r}") for name, source in recipes.items()}


def recipe_notes(recipes: Mapping[str, RecipeSource]) -> tuple[str, ...]:
    """Return a line for each recipe of whose objective units keep a part alone."""
    pairs = (
        (name, built(source), recipe)
        for (name, source), recipe in zip(recipes.items(), recipes_of_units(recipes).values(), strict=True)
    )
    return tuple(
        f"recipe {name}: {before.objective} becomes {after.objective}, where Logit is the unit's activation"
        for name, before, after in pairs
        if before.objective != after.objective
    )


def try_units(settings: UnitSettings, inputs: UnitInputs) -> None:
    """Try one step of each stage of each recipe on the first layer, and of the first recipe on each other one.

    Runs on this machine's CPU, at the model's own size where images are larger. Raises ValueError for what cannot
    work.
    """
    own = inputs.model.preprocessing.image_size
    small = replace(
        settings, image_size=min(settings.image_size, own), batch_size=1, precision="float32", device="cpu"
    )
    job, layers, recipes = UnitJob(small, inputs), list(inputs.units.layers), list(settings.recipes)
    pairs = [(name, layers[0]) for name in recipes] + [(recipes[0], layer) for layer in layers[1:]]
    for recipe, layer in pairs:
        try:
            job.try_recipe(recipe, layer)
        except Exception as error:  # a user's network may raise anything
            if is_out_of_memory(error):
                return  # the workers may have more
            reason = first_line(error) if isinstance(error, ValueError) else in_one_line(error)
            raise ValueError(
                f"recipes: {recipe!r} fails at image_size={settings.image_size} on layer {layer!r} of "
                f"{inputs.model.name!r}; accepted are recipes and sizes of which one step works ({reason})"
            ) from error


class UnitJob:
    """Generates, measures and stores the images of a shard; lives as long as its actor."""

    def __init__(self, settings: UnitSettings, inputs: UnitInputs) -> None:
        self.settings, self.units = settings, inputs.units
        self._recipes = recipes_of_units(settings.recipes)
        classifier = build_classifier(inputs.model).with_input_scaling(settings.input_scaling)
        self._model = self._prepare(classifier)
        self._folded = self._prepare(with_folded_batch_norms(classifier))

    def compute(self, shard: Shard) -> MadeShard:
        """Make and measure the images of every cell of the shard, in batches as large as the model's passes."""
        axes, members = UnitAxes.of(shard), self.settings.num_members
        task = self._task(axes.recipe, axes.layer)
        generator = self._generator(axes.layer)
        batches = generator.in_passes(
            len(axes.cells) * members,
            lambda rows: self._made(
                generator, task, axes.cells[rows.start // members : rows.stop // members]
            ),
            together=members,
        )
        return MadeShard(shard=shard, axes=axes, num_steps=task.recipe.num_steps, batches=batches)

    def commit(self, made: MadeShard, attempt: int) -> dict[str, Any]:
        """Encode the images and commit the shard; the summary says whether this attempt was the first."""
        return commit_shard(
            self._run, made.shard, attempt, partial(image_table, made), partial(self._table, made, attempt)
        )

    def _table(self, made: MadeShard, attempt: int, image_file: str | None) -> pa.Table:
        columns = result_columns(made, self._model.classifier, image_file, attempt)
        return columns_table(columns, unit_results(), len(made.names))

    def try_recipe(self, recipe: str, layer: str) -> None:
        """Take one step of each stage for one unit; keeps nothing."""
        task = self._task(recipe, layer)
        stages = tuple(replace(stage, num_steps=1) for stage in task.recipe.stages)
        self._first_unit(replace(task, recipe=replace(task.recipe, stages=stages)), num_cells=1)

    def seconds_per_cell(self, recipe: str) -> float:
        """Measure the seconds that a cell takes on this device, from a few steps; a mean over the layers."""
        found = [self._seconds(recipe, layer) for layer in self.units.layers]
        return sum(found) / len(found)

    def _seconds(self, recipe: str, layer: str) -> float:
        task = self._task(recipe, layer)
        # Two steps a stage: a recipe may work at other resolutions in each.
        short = task.recipe.with_num_steps(2 * len(task.recipe.stages))
        num_cells = self._generator(layer).batch_size // self.settings.num_members
        start = time.perf_counter()
        self._first_unit(replace(task, recipe=short), num_cells)
        return (time.perf_counter() - start) / num_cells / short.num_steps * task.recipe.num_steps

    def _first_unit(self, task: UnitTask, num_cells: int) -> None:
        unit = self.units.names[task.layer.name][0]
        cells = [UnitCell(unit, seed) for seed in range(num_cells)]
        self._made(self._generator(task.layer.name), task, cells)

    @cached_property
    def _run(self) -> RunDirectory:
        return RunDirectory(self.settings.output)

    def _prepare(self, classifier: Classifier) -> PreparedModel:
        size = self.settings.batch_size
        model = prepare(
            classifier,
            device=self.settings.device,
            precision=self.settings.precision,
            batch_size=None if size is None else whole_batch(size),
            image_size=self.settings.image_size,
        )
        model.batch_size = batch_size_for(model.batch_size, self.settings.num_members)
        return model

    def _generator(self, layer: str) -> PreparedModel:
        """Return what the steps run on: a faster equal of the classifier, if the layer is the same there."""
        same = self._model.once(
            (gives_the_same, layer),
            lambda: gives_the_same(
                self._model, self._folded, self.units.layers[layer], self.settings.image_size
            ),
        )
        return self._folded if same else self._model

    def _task(self, recipe: str, layer: str) -> UnitTask:
        settings, chosen = self.settings, self._recipes[recipe]
        return UnitTask(
            layer=self.units.layers[layer],
            directions=self.units.directions,
            recipe=chosen if settings.num_steps is None else chosen.with_num_steps(settings.num_steps),
            image_size=settings.image_size,
            num_members=settings.num_members,
            sweep_seed=settings.sweep_seed,
            repeatable=settings.repeatable,
        )

    def _made(self, generator: PreparedModel, task: UnitTask, cells: Sequence[UnitCell]) -> MadeBatch:
        start, batch_size = time.perf_counter(), generator.batch_size
        generated = generate_unit_cells(generator, task, cells)
        images = to_8_bits(generated.images)
        return MadeBatch(
            cells=cells,
            generated=generated,
            verdict=self._verdict(task, cells, images),
            images=images,
            batch_size=batch_size,
            seconds=time.perf_counter() - start,
        )

    def _verdict(self, task: UnitTask, cells: Sequence[UnitCell], images: Tensor) -> UnitVerdict:
        units = [cell.unit for cell in cells for _ in range(task.num_members)]
        return evaluate_units(self._model, task.layer, units, self.units.directions, images)
