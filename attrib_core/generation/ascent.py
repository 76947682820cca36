"""The ascent loop: draw, view, differentiate, update, apply the priors, again.

The loop knows nothing of files or workers. A batch mixes classes and seeds; the loss is summed over it and all
random numbers are keyed by (sweep seed, class, seed, step), so that each image is what it would be alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.execution import BATCH_MULTIPLE, Execution
from attrib_core.generation.objectives import target_logits
from attrib_core.generation.priors import Moment, enlarge_and_crop, resize
from attrib_core.generation.recipe import Recipe, Stage
from attrib_core.generation.residual_gradients import scaled_residual_gradients
from attrib_core.seeding import Randomness

START = -1  # the key of the draws that make the first image, before step 0


class Cell(NamedTuple):
    """One image to generate."""

    class_index: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Generated:
    """A batch of finished images and how it came to them, all on the CPU."""

    images: Tensor  # [B, C, H, W] in [0, 1]
    clipped_share: Tensor  # [B], share of values that lay outside [0, 1] before clipping
    logit_by_step: Tensor  # [B, T], the target's logit on the view that the step saw
    loss_by_step: Tensor  # [B, T]
    argmax_by_step: Tensor  # [B, T]


Observer = Callable[[int, Tensor], None]


def generate(
    classifier: Classifier,
    recipe: Recipe,
    cells: Sequence[Cell],
    *,
    sweep_seed: int,
    image_size: int,
    execution: Execution,
    observe: Observer | None = None,
) -> Generated:
    """Optimises one image a cell and returns them with their trajectories.

    `observe(step, images)` is called with the detached images `[B, C, H, W]`, not yet clipped, before the first
    update (step 0) and after each.
    """
    batch = _Batch(classifier, recipe, _padded(cells), sweep_seed, image_size, execution)
    num_images = len(cells)
    for stage in recipe.stages:
        batch.enter(stage)
        for step in range(stage.num_steps):
            if observe is not None:
                observe(batch.num_updates, batch.images()[:num_images])
            batch.update(stage, Moment(step, stage.num_steps, image_size))
    images = batch.images()[:num_images]
    if observe is not None:
        observe(batch.num_updates, images)
    return Generated(
        images=images.clamp(0, 1).cpu(),
        clipped_share=((images < 0) | (images > 1)).float().flatten(1).mean(1).cpu(),
        logit_by_step=torch.stack(batch.logits, 1)[:num_images].cpu(),
        loss_by_step=torch.stack(batch.losses, 1)[:num_images].cpu(),
        argmax_by_step=torch.stack(batch.argmaxes, 1)[:num_images].cpu(),
    )


def _padded(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, the last one repeated up to a multiple of four."""
    return [*cells, *[cells[-1]] * (-len(cells) % BATCH_MULTIPLE)]


class _Batch:
    """The state of one batch between two steps."""

    def __init__(
        self,
        classifier: Classifier,
        recipe: Recipe,
        cells: Sequence[Cell],
        sweep_seed: int,
        image_size: int,
        execution: Execution,
    ) -> None:
        self.classifier, self.recipe, self.cells = classifier, recipe, cells
        self.sweep_seed, self.image_size, self.execution = sweep_seed, image_size, execution
        self.targets = torch.tensor([cell.class_index for cell in cells], device=execution.device)
        initial = recipe.parameterization.initial(self._randomness(START), image_size)
        self.parameters = [each.requires_grad_() for each in initial]
        self.optimizer = recipe.optimizer(self.parameters)
        self.num_updates = 0
        self.logits: list[Tensor] = []
        self.losses: list[Tensor] = []
        self.argmaxes: list[Tensor] = []

    def enter(self, stage: Stage) -> None:
        """Begins a stage: where it enlarges, the pixels are enlarged and cropped."""
        if stage.zoom != 1:
            self._replace_pixels(enlarge_and_crop(self.parameters[0].detach(), stage.zoom))

    def update(self, stage: Stage, moment: Moment) -> None:
        """One step: gradient, update, then the priors in the recipe's order."""
        randomness = self._randomness(self.num_updates)
        losses, logits = self._evaluate(stage, randomness)
        # A stage at low resolution leaves the finest levels of a pyramid out: their gradient is None.
        gradients = torch.autograd.grad(losses.sum(), self.parameters, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        for group in self.optimizer.param_groups:
            group["lr"] = stage.step_size(moment.progress)
        self.optimizer.step()
        self._apply_priors(stage, randomness, moment)
        self.num_updates += 1
        self.losses.append(losses.detach())
        self.logits.append(target_logits(logits, self.targets).detach())
        self.argmaxes.append(logits.argmax(1))

    @torch.no_grad()
    def images(self) -> Tensor:
        """The images as they stand `[B, C, image_size, image_size]`, not clipped."""
        rendered = self.recipe.parameterization.render(self.parameters, self.image_size)
        return resize(
            rendered, self.image_size
        ).clone()  # pixels are rendered as they stand, and move on in place

    def _evaluate(self, stage: Stage, randomness: Randomness) -> tuple[Tensor, Tensor]:
        size = round(self.image_size * stage.resolution)
        images = self.recipe.parameterization.render(self.parameters, size)
        views = images
        for transform in stage.transforms:
            views = transform(views, randomness)
        damped = scaled_residual_gradients(self.classifier.network, self.recipe.residual_gradient)
        with self.execution.autocast(), damped:
            logits = self.classifier(self.execution.images(views))
        logits = logits.float()
        return self.recipe.objective(logits, self.targets, images), logits

    @torch.no_grad()
    def _apply_priors(self, stage: Stage, randomness: Randomness, moment: Moment) -> None:
        if not stage.priors:
            return
        images = self.parameters[0]
        for prior in stage.priors:
            images = prior(images, randomness, moment)
        self._replace_pixels(images)

    def _replace_pixels(self, images: Tensor) -> None:
        """A new leaf, since priors may resize the pixels; the optimisers of pixels keep no state."""
        self.parameters = [images.detach().requires_grad_()]
        self.optimizer.param_groups[0]["params"] = self.parameters

    def _randomness(self, step: int) -> Randomness:
        keys = [(self.sweep_seed, cell.class_index, cell.seed, step) for cell in self.cells]
        return Randomness(keys, self.execution.device)
