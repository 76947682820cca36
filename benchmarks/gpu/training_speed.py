"""Updates of a training followed by gradient × input of 16 images, beside the same two passes of bare torch."""

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.attribution import attribute
from attrib_core.execution import choose_execution
from attrib_core.prepared import PreparedModel
from attrib_core.training import Trainer, live_classifier
from gpu.bench import Bench
from gpu.results import Number, Rate, Result
from gpu.tapes import new_trainer

NAME = "training and gradient × input of 16 images"
MODEL = "fashion_deep"


def run(bench: Bench) -> list[Iterator[Result]]:
    """Train, and attribute after each update."""
    return [_rates(bench)]


def _rates(bench: Bench) -> Iterator[Result]:
    trainer, steps = new_trainer(bench, MODEL), bench.size(100, 5)
    execution = choose_execution(bench.device)
    view = live_classifier(trainer.network, MODEL, bench.dataset.class_names, execution)
    model = PreparedModel(view, execution, 16)
    images, labels = bench.images[:16].to(bench.device), bench.labels[:16].to(bench.device)
    bare = BareLoop(bench, trainer, images, labels)

    def ours() -> None:
        trainer.advance()
        attribute(model, images, labels, ["gradient_x_input"])

    yield Rate(
        name=NAME,
        unit="updates/s",
        ours=steps / bench.seconds(lambda: [ours() for _ in range(steps)]),
        bare=steps / bench.seconds(lambda: [bare.step() for _ in range(steps)]),
        graph=bench.graphed(bare.step),
    )
    waits = bench.host_waits(ours)
    yield Number(name=f"{NAME}: host waits an update", value=waits.total(), places=dict(waits))


class BareLoop:
    """An update of the weights, then the gradient of the largest logits at the images, by torch alone."""

    def __init__(self, bench: Bench, trainer: Trainer, images: Tensor, labels: Tensor) -> None:
        self._network = copy.deepcopy(trainer.network)
        self._execution = choose_execution(bench.device)
        self._images, self._labels = images, labels
        scaling = bench.small_model.preprocessing
        self._mean, self._std = scaling.mean[0], scaling.std[0]
        on_gpu = bench.is_cuda
        self._optimizer = torch.optim.Adam(self._network.parameters(), 1e-3, fused=True, capturable=on_gpu)

    def step(self) -> Tensor:
        """Return gradient × input `[16, 1, 28, 28]` after one update."""
        with self._execution.numerics():
            self._optimizer.zero_grad()
            F.cross_entropy(self._logits(self._images), self._labels).backward()
            self._optimizer.step()
            points = self._images.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._logits(points).amax(1).sum(), points)
        return gradient * self._images

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network((images - self._mean) / self._std)
        return logits
