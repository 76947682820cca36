"""One batch of images between two steps: parameters, the optimiser, and what was kept of each step."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from attrib_core.generation.aim import Aim
from attrib_core.generation.drawing_ahead import DrawnAhead
from attrib_core.generation.optimizers import fuse
from attrib_core.generation.priors import Moment, enlarge_and_crop
from attrib_core.generation.recipe import Recipe, Stage
from attrib_core.generation.resampling import resize
from attrib_core.generation.transforms import fitted
from attrib_core.prepared import PreparedModel
from attrib_core.seeding import Randomness

START = -1  # the key of the draws that make the first image, before step 0
Observer = Callable[[int, Tensor], None]


class BatchState:
    """The state of one batch between two steps."""

    def __init__(
        self, model: PreparedModel, recipe: Recipe, aim: Aim, *, image_size: int, pool: ThreadPoolExecutor
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

    def run(self, stages: Sequence[Stage], observe: Observer | None = None) -> None:
        """Take all steps of some stages."""
        for stage in stages:
            self.enter(stage)
            for step in range(stage.num_steps):
                if observe is not None:
                    observe(self.num_updates, self.images())
                self.update(stage, Moment(step, stage.num_steps, self.image_size))

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


@torch.no_grad()
def merged(states: Sequence[BatchState], chosen: Sequence[int], aim: Aim) -> BatchState:
    """Return the first state with the rows of others in it: row i is that of state `chosen[i]`.

    Rows that pad the batch go with the last one. The steps that follow draw the random numbers of `aim`.
    """
    first = states[0]
    padded = [*chosen, *[chosen[-1]] * (len(first.ones) - len(chosen))]
    rows = [first.model.execution.to_device(torch.tensor(each)) for each in (padded, range(len(padded)))]

    def picked(values: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(values))[rows[0], rows[1]]

    for of_all in zip(*(state.parameters for state in states), strict=True):
        kept = [state.optimizer.state[each] for state, each in zip(states, of_all, strict=True)]
        for name, value in kept[0].items():
            if isinstance(value, Tensor) and value.shape == of_all[0].shape:
                value.copy_(picked([each[name] for each in kept]))
        of_all[0].copy_(picked(of_all))
    first.losses = [picked(each) for each in zip(*(state.losses for state in states), strict=True)]
    steps = zip(*(state.kept for state in states), strict=True)
    first.kept = [tuple(picked(each) for each in zip(*step, strict=True)) for step in steps]
    first.aim = aim
    return first


def _laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return the gradient in its parameter's memory format: fused updates go through both in memory's order."""
    if gradient.device.type == "cpu" or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
