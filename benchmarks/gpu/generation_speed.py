"""The recipe `default` on lite0: image-steps a second, beside the same passes of bare torch."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.classifiers import with_folded_batch_norms
from attrib_core.generation import Cell, find_recipe, generate_batch
from attrib_core.prepared import PreparedModel, prepare
from gpu.bench import Bench
from gpu.results import Number, Rate, Result

NAME = "`default`, lite0"
BRANCH_END = "drop_path"  # the last module of each residual branch of lite0


def run(bench: Bench) -> list[Iterator[Result]]:
    """Generate at several batch sizes."""
    return [_rates(bench, count) for count in ((4,) if bench.quick else (16, 64, 256))]


def _rates(bench: Bench, count: int) -> Iterator[Result]:
    size, steps = bench.size(224, 32), bench.size(16, 2)
    model = prepare(
        with_folded_batch_norms(bench.large_model), device=bench.device, batch_size=count, image_size=size
    )
    cells = [Cell(number, 0) for number in range(count)]
    recipe = find_recipe("default")
    first = recipe.stages[0]  # alone, so that every step is the same work

    def ours(num_steps: int) -> None:
        stages = (replace(first, num_steps=num_steps),)
        generate_batch(model, replace(recipe, stages=stages), cells, sweep_seed=0, image_size=size)

    # What begins and ends a batch is in both, and falls out.
    seconds = bench.seconds(lambda: ours(2 * steps)) - bench.seconds(lambda: ours(steps))
    bare = BareLoop(model, count, round(size * first.resolution), recipe.residual_gradient)
    graphs = bench.graphed(bare.step)
    name = f"{NAME}, batch of {count}"
    yield Rate(
        name=name,
        unit="image-steps/s",
        ours=count * steps / max(seconds, 1e-9),
        bare=count * steps / bench.seconds(lambda: [bare.step() for _ in range(steps)]),
        graph=None if graphs is None else graphs * count,
    )
    waits = bench.host_waits(lambda: ours(2 * steps))
    waits.subtract(bench.host_waits(lambda: ours(steps)))
    yield Number(name=f"{name}: host waits a step", value=waits.total() / steps, places=dict(+waits))


class BareLoop:
    """A pyramid recipe's step by torch alone: render, view, pass, gradient, Adam; nothing is drawn at random."""

    def __init__(self, model: PreparedModel, count: int, side: int, residual_gradient: float) -> None:
        device = model.device
        self._execution, self._side = model.execution, side
        self._network = model.classifier
        for name, module in self._network.network.named_modules():
            if name.endswith(BRANCH_END):
                module.register_forward_hook(_scaling(residual_gradient))
        sides = [max(1, side >> level) for level in (5, 4, 3, 2, 1, 0)]
        self._levels = [
            torch.zeros(count, 3, each, each, device=device, requires_grad=True) for each in sides
        ]
        on_gpu = device.type == "cuda"
        self._optimizer = torch.optim.Adam(self._levels, 0.05, fused=True, capturable=on_gpu)
        self._targets = torch.arange(count, device=device)[:, None]
        matrices = torch.tensor([[0.8, 0.1, 0.0], [-0.1, 0.8, 0.0]]).expand(count, 2, 3)
        self._matrices = matrices.to(device)

    def step(self) -> None:
        """Make one update."""
        with self._execution.numerics(), self._execution.autocast():
            logits = self._network(self._execution.images(self._views()))
            objective = -logits.float().gather(1, self._targets).sum()
        gradients = torch.autograd.grad(objective, self._levels)
        for level, gradient in zip(self._levels, gradients, strict=True):
            level.grad = gradient
        self._optimizer.step()

    def _views(self) -> Tensor:
        images = torch.zeros_like(self._levels[-1])
        for level in self._levels:
            images = images + F.interpolate(level, size=(self._side, self._side), mode="bilinear")
        images = images.sigmoid()
        grid = F.affine_grid(self._matrices, list(images.shape), align_corners=False)
        return F.grid_sample(images - 0.5, grid, align_corners=False) + 0.5


def _scaling(scale: float) -> Callable[[nn.Module, object, Tensor], None]:
    """Return a forward hook that scales the gradient which comes back through a module's output."""

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.register_hook(lambda gradient: gradient * scale)

    return hook
