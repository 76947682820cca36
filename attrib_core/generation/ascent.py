"""The ascent loop: draw, view, differentiate, update, apply the priors, again.

The loop knows nothing of files or workers, and what its images are for it leaves to an `Aim`: here classes, and
in `unit_ascent` units of a layer. A batch mixes classes and seeds. The loss is summed over it, and all random
numbers are keyed by (sweep seed, class, seed, step), so that each image is what it would be alone.
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from attrib_core.classifiers import Classifier, with_folded_batch_norms
from attrib_core.classifiers.checks import as_whole_number, whole_numbers
from attrib_core.generation.aim import Aim
from attrib_core.generation.candidates import Candidates, chosen_candidates
from attrib_core.generation.drawing_ahead import DrawnAhead
from attrib_core.generation.objectives import target_logits
from attrib_core.generation.optimizers import fuse
from attrib_core.generation.priors import Moment, enlarge_and_crop
from attrib_core.generation.recipe import Recipe, Stage
from attrib_core.generation.recipe_references import find_recipe
from attrib_core.generation.resampling import in_any_order, resize
from attrib_core.generation.residual_gradients import scaled_residual_gradients
from attrib_core.generation.soft_rectifiers import soft_rectifiers
from attrib_core.generation.transforms import fitted
from attrib_core.host_copies import host_copies
from attrib_core.numerics import gradients_enabled
from attrib_core.prepared import PreparedModel, averaged, check_model, prepare
from attrib_core.seeding import Key, Randomness, derive_seed, global_randomness

SMALLEST_IMAGE = 8  # pixels; on less, priors blur and shrink an image to nothing
START = -1  # the key of the draws that make the first image, before step 0


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


Observer = Callable[[int, Tensor], None]


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
    """Return what `ascend` does of one candidate of each image, and the losses `[B, T]`."""
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
        batch = _Batch(model, recipe, aim, image_size, pool)
        for stage in recipe.stages:
            batch.enter(stage)
            for step in range(stage.num_steps):
                if observe is not None:
                    observe(batch.num_updates, batch.images()[:num_images])
                batch.update(stage, Moment(step, stage.num_steps, image_size))
        images = batch.images()[:num_images]
        if observe is not None:
            observe(batch.num_updates, images)
        steps = zip(*batch.kept, strict=True)
        *found, losses = host_copies(
            [
                images.clamp(0, 1),
                ((images < 0) | (images > 1)).float().flatten(1).mean(1),
                *(torch.stack(by_step, 1)[:num_images] for by_step in steps),
                torch.stack(batch.losses, 1)[:num_images],
            ]
        )
    return found, losses


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


def _laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return the gradient in its parameter's memory format: fused updates go through both in memory's order."""
    if gradient.device.type == "cpu" or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


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


class _Batch:
    """The state of one batch between two steps."""

    def __init__(
        self, model: PreparedModel, recipe: Recipe, aim: Aim, image_size: int, pool: ThreadPoolExecutor
    ) -> None:
        self.model, self.recipe, self.aim, self.pool = model, recipe, aim, pool
        self.image_size = image_size
        to_device = model.execution.to_device
        channels = model.classifier.channels
        initial = recipe.parameterization.initial(Randomness(aim.keys(START)), image_size, channels)
        self.parameters = [to_device(each).requires_grad_() for each in initial]
        self.ones = torch.ones(model.batch_size, device=model.device)  # the gradient of the losses' sum
        self.optimizer = recipe.optimizer(self.parameters)
        if model.device.type != "cpu":
            fuse(self.optimizer)
        self.num_updates = 0
        self.losses: list[Tensor] = []
        self.kept: list[tuple[Tensor, ...]] = []  # what the aim keeps of each step

    def enter(self, stage: Stage) -> None:
        """Begin a stage; if it zooms, enlarge and crop the pixels."""
        end = self.num_updates + stage.num_steps
        self.drawn_ahead = DrawnAhead(self.aim.keys, self.model.execution, self.pool, end)
        if stage.zoom != 1:
            self._replace_pixels(enlarge_and_crop(self.parameters[0].detach(), stage.zoom))

    def update(self, stage: Stage, moment: Moment) -> None:
        """Take one step: gradient, update, then the priors in the recipe's order."""
        randomness = self.drawn_ahead.step(self.num_updates)
        losses, kept = self._evaluate(stage, randomness)
        # A stage at low resolution leaves the finest levels of a pyramid out: their gradient is None.
        gradients = torch.autograd.grad(losses, self.parameters, self.ones, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else _laid_out(gradient, parameter)
        for group in self.optimizer.param_groups:
            group["lr"] = stage.step_size(moment.progress)
        self.optimizer.step()
        self._apply_priors(stage, randomness, moment)
        self.num_updates += 1
        self.losses.append(losses.detach())
        self.kept.append(kept)

    @torch.no_grad()
    def images(self) -> Tensor:
        """Return the images as they stand `[B, C, image_size, image_size]`, not clipped."""
        rendered = self.recipe.parameterization.render(self.parameters, self.image_size)
        return resize(
            rendered, self.image_size
        ).clone()  # pixels are rendered as they stand, and move on in place

    def _evaluate(self, stage: Stage, randomness: Randomness) -> tuple[Tensor, tuple[Tensor, ...]]:
        size = round(self.image_size * stage.resolution)
        images = self.recipe.parameterization.render(self.parameters, size)
        views = images
        for transform in stage.transforms:
            views = transform(views, randomness)
        return self.aim.evaluate(fitted(self.model, views), images)

    @torch.no_grad()
    def _apply_priors(self, stage: Stage, randomness: Randomness, moment: Moment) -> None:
        if not stage.priors:
            return
        images = self.parameters[0]
        for prior in stage.priors:
            images = prior(images, randomness, moment)
        self._replace_pixels(images)

    def _replace_pixels(self, images: Tensor) -> None:
        """Replace the leaf tensor: priors may resize the pixels. The optimisers of pixels keep no state."""
        self.parameters = [images.detach().requires_grad_()]
        self.optimizer.param_groups[0]["params"] = self.parameters
