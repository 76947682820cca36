"""The training loop: a state that can be read and set, advanced by one minibatch at a time.

All randomness (data order, augmentation, dropout) is computed from the seed and the number of the step or
epoch. So weights, optimiser state and step number are the whole state. A trainer that is set to a recorded
state continues bit for bit, with the same number of threads on the same kind of CPU, or on the same kind of GPU.

On the CPU every update is made and looked at at once. On a device it is made by `deferred.py`, and looked at
later.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.capture import Recorder, recorder_for
from attrib_core.classifiers import Description, Preprocessing
from attrib_core.classifiers.outputs import read_logits
from attrib_core.datasets import Dataset
from attrib_core.execution import Execution
from attrib_core.seeding import derive_seed
from attrib_core.training.data import NormalizedImages
from attrib_core.training.deferred import DeferredUpdates
from attrib_core.training.feed import Feed
from attrib_core.training.models import AS_THE_MODEL_SAYS, trained_model
from attrib_core.training.order import DataOrder
from attrib_core.training.randomness import keyed_randomness
from attrib_core.training.settings import TrainingSettings
from attrib_core.training.update import DivergedError, Update, check_loss

EVALUATION_BATCH = 500


class Trainer:
    """A training at some step; `network`, `optimizer` and `step` are its whole state.

    `settle` must be called before the state is used for anything but more updates; on the CPU it does nothing.
    """

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
        self.settings, self.execution = settings, execution
        self._images = NormalizedImages(dataset, preprocessing, execution)
        self._order = DataOrder(len(dataset), settings)
        self._deferred: DeferredUpdates | None = None
        if execution.device.type != "cpu":
            self.defer(recorder_for(execution))

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches of an epoch; the last one holds the images that are left."""
        return self._order.steps_per_epoch

    @property
    def num_steps(self) -> int:
        return self._order.num_steps

    def updates(self) -> Iterator[Update]:
        """Train from the current step to the last one; yield after each update."""
        while self.step < self.num_steps:
            yield self.advance()
        self.settle()

    def advance(self) -> Update:
        """Make one update; raise DivergedError and leave the parameters unchanged if the loss is not finite.

        On a device the error may come some updates later. The parameters and the step are then those before the
        update whose loss was not finite: those after it were not made.
        """
        if self._deferred is None:
            return self._advance_at_once()
        try:
            update = self._deferred.advance(self.step)
        except DivergedError as error:
            self.step = error.step
            raise
        self.step += 1
        return update

    def settle(self, until: int | None = None) -> None:
        """Raise DivergedError if the loss of an update before number `until` was not finite; None means all."""
        if self._deferred is None:
            return
        try:
            self._deferred.settle(self.step if until is None else until)
        except DivergedError as error:
            self.step = error.step
            raise

    def state_was_set(self, *, in_place: bool) -> None:
        """Forget what was known of the updates before. Call it after weights or moments were set from outside.

        `in_place` says that every tensor of the optimiser's state is the one that it was.
        """
        if self._deferred is not None:
            self._deferred.forget(keep_captured=in_place)

    def defer(self, recorder: Recorder | None) -> None:
        """Make updates as a device makes them: looked at later, and captured by the recorder if there is one."""
        feed = Feed(self._images, self.settings, self.execution)
        self._deferred = DeferredUpdates(self, feed, recorder)

    def minibatch(self, step: int) -> Tensor:
        """Return the indices `[B]` of the images that update number `step` (from 0) uses."""
        return self._order.minibatch(step)

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over a minibatch, from which gradients flow back to the weights."""
        logits = read_logits(self.network.train()(inputs), len(inputs))
        if self.settings.loss == "double_softmax":
            logits = logits.softmax(dim=1)
        return F.cross_entropy(logits, labels)

    def dropout_seed(self, step: int) -> int:
        """Return the seed of the random numbers that layers draw in an update."""
        return derive_seed("dropout", self.settings.seed, step)

    def _advance_at_once(self) -> Update:
        epoch, learning_rate = self.step // self.steps_per_epoch, self._order.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        indices = self.minibatch(self.step)
        inputs, labels = self._images.augmented(indices, self.settings, self.step)
        with keyed_randomness(self._images.device, self.dropout_seed(self.step)):
            loss = self.loss(inputs, labels)
        value = loss.item()
        check_loss(value, self.step, learning_rate)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.optimizer.step()
        self.step += 1
        return Update(
            step=self.step, epoch=epoch, loss_of=lambda: value, learning_rate=learning_rate, indices=indices
        )


def initial_network(
    model: str, num_classes: int, seed: int, description: Description = AS_THE_MODEL_SAYS
) -> nn.Module:
    """Return the untrained network that a training with this seed starts from; ValueError for an unknown model."""
    architecture, _ = trained_model(model, num_classes, description)
    with keyed_randomness(torch.device("cpu"), derive_seed("initial weights", seed)):
        return architecture.network(num_classes, None, untrained=True)


@torch.no_grad()
def accuracy(network: nn.Module, images: NormalizedImages) -> float:
    """Return the share of images whose label has the largest logit; leaves the network in eval mode."""
    network.eval()
    num_correct = torch.zeros((), dtype=torch.int64, device=images.device)
    for indices in torch.split(torch.arange(len(images)), EVALUATION_BATCH):
        inputs, labels = images.batch(indices)
        with images.execution.numerics():
            logits = read_logits(network(inputs), len(inputs))
        num_correct += (logits.argmax(dim=1) == labels).sum()
    return int(num_correct) / len(images)


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
