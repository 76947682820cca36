"""The training loop: a state that can be read and set, advanced by one minibatch at a time.

All randomness (data order, augmentation, dropout) is computed from the seed and the number of the step or
epoch. So weights, optimiser state and step number are the whole state. A trainer that is set to a recorded
state continues bit for bit, with the same number of threads on the same kind of CPU.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.classifiers import Description, Preprocessing
from attrib_core.classifiers.outputs import read_logits
from attrib_core.datasets import Dataset
from attrib_core.execution import Execution
from attrib_core.seeding import derive_seed, generator
from attrib_core.training.data import NormalizedImages
from attrib_core.training.models import AS_THE_MODEL_SAYS, trained_model
from attrib_core.training.settings import TrainingSettings

EVALUATION_BATCH = 500


class DivergedError(Exception):
    """The loss or the weights are NaN or infinite."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """One update of the weights; `step` counts the updates so far, including this one."""

    step: int
    epoch: int  # from 0
    loss: float  # mean over the minibatch, before the update
    learning_rate: float
    indices: Tensor  # [B], of the minibatch's images


class Trainer:
    """A training at some step; `network`, `optimizer` and `step` are its whole state."""

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        dataset: Dataset,
        settings: TrainingSettings,
        execution: Execution,
    ) -> None:
        self.network = execution.prepare(network)
        self.optimizer = _optimizer(network, settings)
        self.step = 0
        self.settings = settings
        self._images = NormalizedImages(dataset, preprocessing, execution)
        self._order = torch.empty(0, dtype=torch.int64)
        self._order_epoch = -1

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches of an epoch; the last one holds the images that are left."""
        return -(-len(self._images) // self.settings.batch_size)

    @property
    def num_steps(self) -> int:
        return self.settings.epochs * self.steps_per_epoch

    def updates(self) -> Iterator[Update]:
        """Train from the current step to the last one; yield after each update."""
        while self.step < self.num_steps:
            yield self.advance()

    def advance(self) -> Update:
        """Make one update; raise DivergedError and leave the parameters unchanged if the loss is not finite."""
        epoch, learning_rate = self.step // self.steps_per_epoch, self._set_learning_rate()
        indices = self.minibatch(self.step)
        inputs, labels = self._images.augmented(indices, self.settings, self.step)
        device = self._images.device
        keyed = _keyed_randomness(device, derive_seed("dropout", self.settings.seed, self.step))
        with keyed, _repeatable(device):
            loss = self._loss(read_logits(self.network.train()(inputs), len(inputs)), labels)
        value = loss.item()
        if not torch.isfinite(loss):
            raise DivergedError(
                f"step {self.step}: the loss is {value} at learning rate {learning_rate:g}; try a smaller one"
            )
        self.optimizer.zero_grad()
        with _repeatable(device):
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.optimizer.step()
        self.step += 1
        return Update(step=self.step, epoch=epoch, loss=value, learning_rate=learning_rate, indices=indices)

    def minibatch(self, step: int) -> Tensor:
        """Return the indices `[B]` of the images that update number `step` (from 0) uses."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._order_epoch:
            keyed = generator("data order", self.settings.seed, epoch)
            self._order, self._order_epoch = torch.randperm(len(self._images), generator=keyed), epoch
        start = position * self.settings.batch_size
        return self._order[start : start + self.settings.batch_size]

    def _set_learning_rate(self) -> float:
        learning_rate = self.settings.learning_rate_at(self.step, self.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        return learning_rate

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.settings.loss == "double_softmax":
            logits = logits.softmax(dim=1)
        return F.cross_entropy(logits, labels)


def initial_network(
    model: str, num_classes: int, seed: int, description: Description = AS_THE_MODEL_SAYS
) -> nn.Module:
    """Return the untrained network that a training with this seed starts from; ValueError for an unknown model."""
    architecture, _ = trained_model(model, num_classes, description)
    with _keyed_randomness(torch.device("cpu"), derive_seed("initial weights", seed)):
        return architecture.network(num_classes, None, untrained=True)


@torch.no_grad()
def accuracy(network: nn.Module, images: NormalizedImages) -> float:
    """Return the share of images whose label has the largest logit; leaves the network in eval mode."""
    network.eval()
    num_correct = 0
    for indices in torch.split(torch.arange(len(images)), EVALUATION_BATCH):
        inputs, labels = images.batch(indices)
        logits = read_logits(network(inputs), len(inputs))
        num_correct += int((logits.argmax(dim=1) == labels).sum())
    return num_correct / len(images)


def _optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    parameters, learning_rate, decay = network.parameters(), settings.learning_rate, settings.weight_decay
    # Fused: one pass over all weights instead of several passes over each.
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, learning_rate, weight_decay=decay, fused=True)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, learning_rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(
        parameters, learning_rate, momentum=settings.momentum, weight_decay=decay, fused=True
    )


def _repeatable(device: torch.device) -> AbstractContextManager[object]:
    """Make convolutions on a GPU deterministic; cuDNN's fastest ones add up in an order that varies."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


@contextmanager
def _keyed_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's global generators, from which layers draw, and restore them afterwards."""
    is_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if is_cuda else []):
        torch.default_generator.manual_seed(seed)
        if is_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
