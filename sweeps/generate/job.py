"""The actor's side of the generation sweep: one pinned model, its judges, and shards of cells."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    canonical_name,
    read_checkpoint,
    with_folded_batch_norms,
)
from attrib_core.classifiers.registry import member_names
from attrib_core.execution import is_out_of_memory
from attrib_core.generation import Cell, Generated, Recipe, evaluate, to_8_bits
from attrib_core.generation.ascent import generate_batch
from attrib_core.generation.batch_state import Observer
from attrib_core.generation.transforms import fitted
from attrib_core.prepared import PreparedModel, prepare, whole_batch
from sweeps.columns import Columns
from sweeps.commit import commit_shard
from sweeps.generate.recipe_sources import RecipeSource, built
from sweeps.generate.rows import (
    Frame,
    GenerateAxes,
    JudgedBatch,
    JudgedShard,
    image_table,
    result_columns,
)
from sweeps.model_options import ModelChoice, model_definitions
from sweeps.plan import Shard
from sweeps.ranges import parse_names
from sweeps.schemas import generate_results
from sweeps.store import RunDirectory, columns_table

NUM_IMAGENET_CLASSES = 1000
DEFAULT_JUDGES = ("efficientnet_lite1", "efficientnet_lite2")  # of models with ImageNet's classes
STORED_CHANNELS = (1, 3)  # of a PNG whose every channel is a colour


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """What an actor needs to know; the weights come apart from it, through the object store."""

    output: str
    recipes: Mapping[str, RecipeSource]
    image_size: int
    input_scaling: InputScaling
    num_steps: int | None
    sweep_seed: int
    frames: frozenset[int]
    frame_every: int
    batch_size: int | None
    precision: str
    repeatable: bool = True
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The generating model's checkpoint and the judges'."""

    model: Checkpoint
    judges: Mapping[str, Checkpoint]

    @property
    def model_definitions(self) -> dict[str, str]:
        """Which code and configuration the networks are built from, for sweep.json."""
        return model_definitions(self.model, *self.judges.values())


def read_weights(model: ModelChoice, judges: str | None) -> Weights:
    """Read the model and its judges: a list of names, `none`, or None for the default ones.

    Raises ValueError if the model is one of its judges, and for a judge of other classes.
    """
    names = () if judges in (None, "none") else parse_names("judges", judges)
    makers = {canonical_name(model.name), *map(canonical_name, member_names(model.name))}
    if makers & set(map(canonical_name, names)):
        raise ValueError(f"judges: {model.name!r} makes the images; a judge takes no part in making them")
    checkpoint = model.read()
    if judges is None and checkpoint.num_classes == NUM_IMAGENET_CLASSES:
        names = tuple(name for name in DEFAULT_JUDGES if name not in makers)
    return Weights(model=checkpoint, judges=_read_judges(names, checkpoint))


def _read_judges(names: Sequence[str], model: Checkpoint) -> dict[str, Checkpoint]:
    judges: dict[str, Checkpoint] = {}
    for name in names:
        judge = _read_judge(name, model)
        if judge.name in judges:
            raise ValueError(
                f"judges: two are called {judge.name!r}; accepted are files and folders that differ in name"
            )
        judges[judge.name] = judge
    return judges


def _read_judge(name: str, model: Checkpoint) -> Checkpoint:
    try:
        judge = read_checkpoint(name)
    except ValueError as error:
        raise ValueError(f"judges: {error}") from None
    ours, theirs = len(model.labels.class_names), len(judge.labels.class_names)
    if ours != theirs:
        raise ValueError(
            f"judges: {name!r} has {theirs} classes, the model {model.name!r} {ours}; "
            "accepted are judges of the model's classes, or none"
        )
    return judge


def build_generator(checkpoint: Checkpoint) -> Classifier:
    """Return the classifier of the checkpoint. Raises ValueError if its images cannot be stored."""
    classifier = build_classifier(checkpoint)
    if classifier.channels not in STORED_CHANNELS:
        raise ValueError(
            f"model: {checkpoint.name!r} takes {classifier.channels} channels; accepted are 1 and 3, which a "
            "stored image can have"
        )
    return classifier


def try_recipes(settings: GenerateSettings, weights: Weights) -> None:
    """Try one step of each stage of each recipe, and the judges, on this machine's CPU.

    Raises ValueError for a recipe that cannot work. Larger images than the model's own are tried at its own size:
    a size can be too small for a recipe, but not too large, and the driver's machine may be a small one.
    """
    own = weights.model.preprocessing.image_size
    small = replace(
        settings, image_size=min(settings.image_size, own), batch_size=1, precision="float32", device="cpu"
    )
    job = GenerateJob(small, weights)
    for name in settings.recipes:
        try:
            job.try_recipe(name)
        except Exception as error:  # a user's network may raise anything
            if is_out_of_memory(error):
                return  # the workers may have more
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(
                f"recipes: {name!r} fails at image_size={settings.image_size} on {weights.model.name!r}; accepted "
                f"are recipes and sizes of which one step works ({reason.partition(chr(10))[0]})"
            ) from error


class GenerateJob:
    """Generates, judges and stores the images of a shard; lives as long as its actor."""

    def __init__(self, settings: GenerateSettings, weights: Weights) -> None:
        self.settings = settings
        self._recipes = {name: built(source) for name, source in settings.recipes.items()}
        classifier = build_classifier(weights.model).with_input_scaling(settings.input_scaling)
        self._model = self._prepare(classifier, settings.image_size)
        # The steps run on a faster equal of the classifier; what is stored of the finished image does not.
        self._generator = self._prepare(with_folded_batch_norms(classifier), settings.image_size)
        self._judges = {
            name: self._prepare(build_classifier(checkpoint)) for name, checkpoint in weights.judges.items()
        }

    def compute(self, shard: Shard) -> JudgedShard:
        """Optimise and judge every cell of the shard, in batches as large as the generator's passes."""
        axes, generator = GenerateAxes.of(shard), self._generator
        recipe = self.recipe(axes.recipe)
        batches = generator.in_passes(
            len(axes.cells), lambda rows: self._judged_batch(recipe, axes.cells[rows.start : rows.stop])
        )
        return JudgedShard(shard=shard, axes=axes, num_steps=recipe.num_steps, batches=batches)

    def commit(self, judged: JudgedShard, attempt: int) -> dict[str, Any]:
        """Encode the images and commit the shard; the summary says whether this attempt was the first."""
        images = partial(image_table, judged, self._model.classifier.num_classes)
        return commit_shard(self._run, judged.shard, attempt, images, partial(self._table, judged, attempt))

    def _table(self, judged: JudgedShard, attempt: int, image_file: str | None) -> pa.Table:
        columns = self.columns(judged, image_file, attempt)
        return columns_table(columns, self.schema(tuple(self._judges)), len(judged.axes.cells))

    def columns(self, judged: JudgedShard, image_file: str | None, attempt: int) -> Columns:
        """Return what is stored of each cell; the columns are those of `schema`."""
        return result_columns(judged, self._model.classifier, image_file, attempt)

    def schema(self, judges: Sequence[str]) -> pa.Schema:
        """Return the schema of results/."""
        return generate_results(judges)

    def recipe(self, name: str) -> Recipe:
        """Return the named recipe with the number of steps that the sweep wants."""
        recipe, num_steps = self._recipes[name], self.settings.num_steps
        return recipe if num_steps is None else recipe.with_num_steps(num_steps)

    def try_recipe(self, recipe_name: str) -> None:
        """Take one step of each stage for one image and show it to the judges; keeps nothing."""
        recipe = self._recipes[recipe_name]
        short = replace(recipe, stages=tuple(replace(stage, num_steps=1) for stage in recipe.stages))
        self._judged_batch(short, [Cell(class_index=0, seed=0)])

    def seconds_per_cell(self, recipe_name: str) -> float:
        """Measure the seconds that an image takes on this device, from a few steps."""
        recipe, size = self._recipes[recipe_name], self._generator.batch_size
        # Two steps a stage: a recipe may work at other resolutions in each.
        short = recipe.with_num_steps(2 * len(recipe.stages))
        start = time.perf_counter()
        self._generate(short, [Cell(class_index=0, seed=seed) for seed in range(size)])
        seconds_per_step = (time.perf_counter() - start) / (short.num_steps * size)
        return seconds_per_step * self.recipe(recipe_name).num_steps

    @cached_property
    def _run(self) -> RunDirectory:
        return RunDirectory(self.settings.output)

    def _prepare(self, classifier: Classifier, image_size: int | None = None) -> PreparedModel:
        size = self.settings.batch_size
        return prepare(
            classifier,
            device=self.settings.device,
            precision=self.settings.precision,
            batch_size=None if size is None else whole_batch(size),
            image_size=image_size,
        )

    def _generate(self, recipe: Recipe, cells: Sequence[Cell], observe: Observer | None = None) -> Generated:
        return generate_batch(
            self._generator,
            recipe,
            cells,
            sweep_seed=self.settings.sweep_seed,
            image_size=self.settings.image_size,
            repeatable=self.settings.repeatable,
            observe=observe,
        )

    def _judged_batch(self, recipe: Recipe, cells: Sequence[Cell]) -> JudgedBatch:
        start = time.perf_counter()
        batch_size = self._generator.batch_size
        frames = _Frames(
            cells=cells,
            rows=[row for row, cell in enumerate(cells) if cell.class_index in self.settings.frames],
            every=self.settings.frame_every,
        )
        generated = self._generate(recipe, cells, frames.take if frames.rows else None)
        images = to_8_bits(generated.images)
        targets = torch.tensor([cell.class_index for cell in cells])
        return JudgedBatch(
            cells=cells,
            generated=generated,
            evaluation=evaluate(self._model, self._judges, images, targets),
            images=images,
            frames=frames.judged(self._model),
            batch_size=batch_size,
            seconds=time.perf_counter() - start,
        )


class _Frames:
    """Images of some rows of a batch on their way, as 8 bits: judged when the batch is finished."""

    def __init__(self, *, cells: Sequence[Cell], rows: list[int], every: int) -> None:
        self.cells, self.rows, self.every = cells, rows, every
        self._taken: list[tuple[int, Tensor]] = []

    def take(self, step: int, images: Tensor) -> None:
        """Keep the images if it is their step; nobody waits for the copy to the host."""
        if step % self.every == 0:
            chosen = torch.stack([images[row] for row in self.rows])
            self._taken.append((step, to_8_bits(chosen).to("cpu", non_blocking=True)))

    def judged(self, model: PreparedModel) -> list[Frame]:
        """Return the frames with the model's logits, in float32. The batch itself must have come to the host."""
        exact, frames = model.in_float32(), []
        for step, pixels in self._taken:
            images = fitted(exact, exact.images(pixels.float() / 255))
            logits = exact.exact_logits(images).cpu().numpy()
            for row, image, row_logits in zip(self.rows, pixels, logits, strict=True):
                frames.append(Frame(cell=self.cells[row], step=step, image=image, logits=row_logits))
        return frames
