"""The actor's side of the generation sweep: one pinned model, its judges, and shards of cells."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.classifiers import (
    Checkpoint,
    Classifier,
    InputScaling,
    build_classifier,
    read_checkpoint,
    with_folded_batch_norms,
)
from attrib_core.execution import choose_execution, fastest_batch_size, run_batches
from attrib_core.generation import Cell, Generated, Recipe, evaluate, generate, stable_logits, to_8_bits
from sweeps.columns import Columns
from sweeps.commit import commit_shard
from sweeps.generate.rows import (
    Frame,
    GenerateAxes,
    JudgedBatch,
    JudgedShard,
    image_table,
    result_columns,
)
from sweeps.plan import Shard
from sweeps.ranges import parse_names
from sweeps.schemas import generate_results
from sweeps.store import RunDirectory, columns_table

# A CPU's caches prefer small batches, and from sixteen images on its kernels round otherwise.
BATCH_SIZES = {"cpu": (4, 8, 12), "cuda": (8, 16, 32, 64, 128, 256)}


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """What an actor needs to know; the weights come apart from it, through the object store."""

    output: str
    recipes: Mapping[str, Recipe]
    image_size: int
    input_scaling: InputScaling
    num_steps: int | None
    sweep_seed: int
    frames: frozenset[int]
    frame_every: int
    batch_size: int | None
    precision: str
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The generating model's checkpoint and the judges'."""

    model: Checkpoint
    judges: Mapping[str, Checkpoint]


def read_weights(model: str, weights: str | None, judges: str) -> Weights:
    """Reads the model and its judges, a list of names or `none`; ValueError where it is one of them."""
    names = () if judges == "none" else parse_names("judges", judges)
    if model in names:
        raise ValueError(f"judges: {model!r} makes the images; a judge takes no part in making them")
    return Weights(
        model=read_checkpoint(model, weights=weights), judges={name: _read_judge(name) for name in names}
    )


def _read_judge(name: str) -> Checkpoint:
    try:
        return read_checkpoint(name)
    except ValueError as error:
        raise ValueError(f"judges: {error}") from None


def build_generator(checkpoint: Checkpoint) -> Classifier:
    """The classifier of the checkpoint; ValueError unless it takes images of three colours."""
    classifier = build_classifier(checkpoint)
    if classifier.channels != 3:
        raise ValueError(
            f"model: {checkpoint.name!r} takes {classifier.channels} channels; generation needs 3"
        )
    return classifier


class GenerateJob:
    """Generates, judges and stores the images of a shard; lives as long as its actor."""

    def __init__(self, settings: GenerateSettings, weights: Weights) -> None:
        self.settings = settings
        self.execution = choose_execution(settings.device, settings.precision)
        self.classifier = self._prepare(weights.model).with_input_scaling(settings.input_scaling)
        # The steps run on a faster equal of the classifier; what is stored of the finished image does not.
        self._generator = self.execution.prepare(with_folded_batch_norms(self.classifier))
        self.judges = {name: self._prepare(checkpoint) for name, checkpoint in weights.judges.items()}
        self._batch_sizes: dict[str, int] = {}

    def compute(self, shard: Shard) -> JudgedShard:
        """Optimise and judge every cell of the shard, in batches as large as memory allows."""
        axes = GenerateAxes.of(shard)
        recipe = self.recipe(axes.recipe)
        batch_size = self.batch_size(axes.recipe, len(axes.cells))
        batched = run_batches(axes.cells, batch_size, partial(self.judged_batch, recipe))
        return JudgedShard(
            shard=shard,
            axes=axes,
            num_steps=recipe.num_steps,
            batch_size=batched.batch_size,
            batches=batched.results,
        )

    def commit(self, judged: JudgedShard, attempt: int) -> dict[str, Any]:
        """Encode the images and commit the shard; the summary says whether this attempt won."""
        images = partial(image_table, judged, self.classifier.num_classes)
        return commit_shard(self._run, judged.shard, attempt, images, partial(self._table, judged, attempt))

    def _table(self, judged: JudgedShard, attempt: int, image_file: str | None) -> pa.Table:
        columns = self.columns(judged, image_file, attempt)
        return columns_table(columns, self.schema(), len(judged.axes.cells))

    def columns(self, judged: JudgedShard, image_file: str | None, attempt: int) -> Columns:
        """Return what is stored of each cell; the columns are those of `schema`."""
        return result_columns(judged, self.classifier, image_file, attempt)

    def schema(self) -> pa.Schema:
        """Return the schema of results/."""
        return generate_results(tuple(self.judges))

    def recipe(self, name: str) -> Recipe:
        """The named recipe in the number of steps that the sweep asks for."""
        recipe, num_steps = self.settings.recipes[name], self.settings.num_steps
        return recipe if num_steps is None else recipe.with_num_steps(num_steps)

    def seconds_per_cell(self, recipe_name: str, num_cells: int) -> float:
        """Seconds an image takes on this device, from a few steps at the fastest batch size."""
        batch_size = self.batch_size(recipe_name, num_cells)
        start = time.perf_counter()
        num_steps = self._warm_up(recipe_name, batch_size)
        seconds_per_step = (time.perf_counter() - start) / (num_steps * batch_size)
        return seconds_per_step * self.recipe(recipe_name).num_steps

    @cached_property
    def _run(self) -> RunDirectory:
        return RunDirectory(self.settings.output)

    def _prepare(self, checkpoint: Checkpoint) -> Classifier:
        return self.execution.prepare(build_classifier(checkpoint))

    def batch_size(self, recipe_name: str, num_cells: int) -> int:
        """The batch size asked for, or the fastest one measured on this device for this recipe."""
        if self.settings.batch_size is not None:
            return self.settings.batch_size
        if recipe_name not in self._batch_sizes:
            candidates = [size for size in BATCH_SIZES[self.execution.device.type] if size <= num_cells]
            self._batch_sizes[recipe_name] = fastest_batch_size(
                partial(self._warm_up, recipe_name), candidates or [num_cells]
            )
        return self._batch_sizes[recipe_name]

    def _warm_up(self, recipe_name: str, batch_size: int) -> int:
        """Runs a few steps of the recipe on a batch, and returns how many."""
        recipe = self.settings.recipes[recipe_name]
        # Two steps a stage: a recipe may work at other resolutions in each.
        short = recipe.with_num_steps(2 * len(recipe.stages))
        self._generate(short, [Cell(class_index=0, seed=seed) for seed in range(batch_size)])
        return short.num_steps

    def _generate(self, recipe: Recipe, cells: Sequence[Cell], observe: Any = None) -> Generated:
        return generate(
            self._generator,
            recipe,
            cells,
            sweep_seed=self.settings.sweep_seed,
            image_size=self.settings.image_size,
            execution=self.execution,
            observe=observe,
        )

    def judged_batch(self, recipe: Recipe, cells: Sequence[Cell]) -> JudgedBatch:
        """Makes and judges the images of one batch."""
        start = time.perf_counter()
        frames: list[Frame] = []
        generated = self._generate(recipe, cells, self._frame_taker(cells, frames))
        images = to_8_bits(generated.images)
        targets = torch.tensor([cell.class_index for cell in cells])
        evaluation = evaluate(self.classifier, self.judges, images, targets, self.execution)
        return JudgedBatch(
            cells=cells,
            generated=generated,
            evaluation=evaluation,
            images=images,
            frames=frames,
            seconds=time.perf_counter() - start,
        )

    def _frame_taker(self, cells: Sequence[Cell], frames: list[Frame]) -> Any:
        """An observer that keeps every k-th step of the chosen classes, with all logits; None without any."""
        chosen = [row for row, cell in enumerate(cells) if cell.class_index in self.settings.frames]
        if not chosen:
            return None

        def take(step: int, images: Tensor) -> None:
            if step % self.settings.frame_every == 0:
                pixels = to_8_bits(images[chosen]).cpu()
                with torch.inference_mode():
                    logits = stable_logits(
                        self.classifier, self.execution.images(pixels.float() / 255)
                    ).numpy()
                for row, image, row_logits in zip(chosen, pixels, logits, strict=True):
                    frames.append(Frame(cell=cells[row], step=step, image=image, logits=row_logits))

        return take
