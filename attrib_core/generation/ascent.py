"""The ascent loop: draw, view, differentiate, update, apply the priors, again.

The loop knows nothing of files or workers, and what its images are for it leaves to an `Aim`: here classes, and
in `unit_ascent` units of a layer. A batch mixes classes and seeds. The loss is summed over it, and all random
numbers are keyed by (sweep seed, class, seed, step), so that each image is what it would be alone.
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from attrib_core.classifiers import Classifier, with_folded_batch_norms
from attrib_core.classifiers.checks import as_whole_number, whole_numbers
from attrib_core.generation.aim import Aim
from attrib_core.generation.batch_state import BatchState, Observer, merged
from attrib_core.generation.candidates import Candidates, chosen_candidates
from attrib_core.generation.objectives import target_logits
from attrib_core.generation.recipe import Recipe
from attrib_core.generation.recipe_references import find_recipe
from attrib_core.generation.resampling import in_any_order
from attrib_core.generation.residual_gradients import scaled_residual_gradients
from attrib_core.generation.soft_rectifiers import soft_rectifiers
from attrib_core.host_copies import host_copies
from attrib_core.numerics import gradients_enabled
from attrib_core.prepared import PreparedModel, averaged, check_model, prepare
from attrib_core.seeding import Key, derive_seed, global_randomness

SMALLEST_IMAGE = 8  # pixels; on less, priors blur and shrink an image to nothing


class Cell(NamedTuple):
    """One image to generate."""

    class_index: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Generated:
    """A batch of finished images and their trajectories, on the CPU."""

    images: Tensor  # [B, C, H, W] in [0, 1]
    clipped_share: Tensor  # [B], share of values that lay outside [0, 1] before clipping
    logit_by_step: Tensor  # [B, T], the target's logit on the view that the step saw
    loss_by_step: Tensor  # [B, T]
    argmax_by_step: Tensor  # [B, T]


@gradients_enabled()
def generate(
    model: Classifier | PreparedModel,
    classes: Sequence[int],
    seeds: Sequence[int] = (0,),
    recipe: Recipe | str = "default",
    *,
    image_size: int | None = None,
    sweep_seed: int = 0,
) -> Generated:
    """Generate an image for each class and seed, class by class, in the classifier's own size if none is given.

    `recipe` is a reference, such as `default`, `default:num_steps=64` or `mine.py:my_objective`, or a recipe.
    Views of a size that the network does not take are resized to one that it takes. Raises ValueError for a name,
    class or seed that is none, and for images that are too small.
    """
    chosen = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    check_model(model)
    classifier = model if isinstance(model, Classifier) else model.classifier
    numbers = itertools.product(whole_numbers("classes", classes), whole_numbers("seeds", seeds))
    cells = [Cell(class_index, seed) for class_index, seed in numbers]
    _check_cells(cells, classifier)
    size = classifier.image_size if image_size is None else as_whole_number(image_size)
    if size is None or not size >= SMALLEST_IMAGE:
        raise ValueError(f"image_size={image_size}: accepted are whole numbers from {SMALLEST_IMAGE}")
    if isinstance(model, Classifier):
        model = prepare(with_folded_batch_norms(model), image_size=size, num_images=len(cells))
    step = model.batch_size
    batches = [
        generate_batch(model, chosen, cells[start : start + step], sweep_seed=sweep_seed, image_size=size)
        for start in range(0, len(cells), step)
    ]
    names = [field.name for field in fields(Generated)]
    return Generated(**{name: torch.cat([getattr(batch, name) for batch in batches]) for name in names})


def generate_batch(
    model: PreparedModel,
    recipe: Recipe,
    cells: Sequence[Cell],
    *,
    sweep_seed: int,
    image_size: int,
    repeatable: bool = True,
    observe: Observer | None = None,
) -> Generated:
    """Optimise one image a cell, as many as fit into one pass of the model, and return them with their
    trajectories.

    `observe(step, images)` is called with the detached images `[B, C, H, W]`, not yet clipped, before the first
    update (step 0) and after each. Without `repeatable`, gradients of views on a GPU may add up in any order.
    """
    aim = _Classes(model, recipe, cells, sweep_seed)
    size = Size(len(cells), image_size)
    found = ascend(model, recipe, aim, size, repeatable=repeatable, observe=observe)
    names = [field.name for field in fields(Generated)]
    generated = Generated(**dict(zip(names, found, strict=True)))
    recipe.objective.check(generated.loss_by_step)
    return generated


class Size(NamedTuple):
    """The images that are wanted of a batch, and their side in pixels."""

    num_images: int
    image_size: int


def ascend(
    model: PreparedModel,
    recipe: Recipe,
    aim: Aim,
    size: Size,
    *,
    repeatable: bool = True,
    observe: Observer | None = None,
) -> list[Tensor]:
    """Optimise the images of one pass, as `generate_batch` says, for any aim.

    Of several candidates of an image the one is kept that has the lowest loss in its last steps, each of which saw
    another view of it; whoever observes sees that one alone. Returns, on the CPU, the images `[B, C, H, W]` in
    [0, 1], the share of their values that was clipped `[B]`, and by step `[B, T]` all that the aim keeps.
    """
    run = partial(_ascend, model, recipe, size=size, repeatable=repeatable)
    if recipe.num_candidates == 1:
        return run(aim, observe=observe)[0]
    found, losses = zip(
        *(run(Candidates(aim, [number])) for number in range(recipe.num_candidates)), strict=True
    )
    chosen = chosen_candidates(torch.stack(losses), aim.group)
    if observe is not None:
        return run(Candidates(aim, chosen.tolist()), observe=observe)[0]
    rows = torch.arange(size.num_images)
    return [torch.stack(candidates)[chosen, rows] for candidates in zip(*found, strict=True)]


def _ascend(
    model: PreparedModel,
    recipe: Recipe,
    aim: Aim,
    *,
    size: Size,
    repeatable: bool,
    observe: Observer | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Return what `ascend` does of one candidate of each image, and the losses `[B, T]`.

    Of several sketches, made by the first stage, the rest continues with the one of the lowest loss.
    """
    num_images, image_size = size
    network = model.classifier.network
    with (
        # Code of users may draw from the global generators.
        global_randomness(derive_seed(*aim.name)),
        model.execution.numerics(),
        scaled_residual_gradients(network, recipe.residual_gradient),
        in_any_order(not repeatable),
        ThreadPoolExecutor(1, "draws") as pool,
    ):
        start = partial(BatchState, model, recipe, image_size=image_size, pool=pool)
        if recipe.num_sketches == 1:
            state, stages = start(aim), recipe.stages
        else:
            sketches = [start(Candidates(aim, [number], "sketch")) for number in range(recipe.num_sketches)]
            for sketch in sketches:
                sketch.run(recipe.stages[:1])
            losses = host_copies([torch.stack(sketch.losses, 1)[:num_images] for sketch in sketches])
            chosen = chosen_candidates(torch.stack(losses), aim.group).tolist()
            best = Candidates(aim, chosen, "sketch")
            if observe is None:
                state, stages = merged(sketches, chosen, best), recipe.stages[1:]
            else:  # who observes sees the chosen sketch from its beginning
                state, stages = start(best), recipe.stages
        state.run(
            stages, None if observe is None else lambda step, images: observe(step, images[:num_images])
        )
        images = state.images()[:num_images]
        if observe is not None:
            observe(state.num_updates, images)
        *found, losses_by_step = host_copies(
            [
                images.clamp(0, 1),
                ((images < 0) | (images > 1)).float().flatten(1).mean(1),
                *(torch.stack(each, 1)[:num_images] for each in zip(*state.kept, strict=True)),
                torch.stack(state.losses, 1)[:num_images],
            ]
        )
    return found, losses_by_step


def _check_cells(cells: Sequence[Cell], classifier: Classifier) -> None:
    if not cells:
        raise ValueError("classes, seeds: there are none; at least one of each is needed")
    for cell in cells:
        if not 0 <= cell.class_index < classifier.num_classes:
            raise ValueError(
                f"classes: {cell.class_index}; {classifier.name} has classes 0 to {classifier.num_classes - 1}"
            )
        if cell.seed < 0:
            raise ValueError(f"seeds: {cell.seed}; accepted are 0 and more")


class _Classes:
    """Images of classes.

    The cells are padded with copies of the last one: not only the network but every tensor then has one shape.
    """

    def __init__(self, model: PreparedModel, recipe: Recipe, cells: Sequence[Cell], sweep_seed: int) -> None:
        self._model, self._recipe, self._sweep_seed = model, recipe, sweep_seed
        self._cells = [*cells, *[cells[-1]] * (model.batch_size - len(cells))]
        self._targets = model.execution.to_device(torch.tensor([cell.class_index for cell in self._cells]))

    @property
    def name(self) -> Key:
        return (self._sweep_seed, "generate", *self._cells[0])

    @property
    def group(self) -> int:
        return 1

    def keys(self, step: int) -> list[Key]:
        return [(self._sweep_seed, cell.class_index, cell.seed, step) for cell in self._cells]

    def evaluate(self, views: Tensor, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        with soft_rectifiers(self._recipe.rectifier_width):
            answers = self._model.answers(views)
        losses = averaged([self._recipe.objective(logits, self._targets, images) for logits in answers])
        logits = averaged(answers).detach()
        return losses, (target_logits(logits, self._targets), losses.detach(), logits.argmax(1))
