"""Updates on a device, for which the host does not wait.

The host must not ask each update's loss whether it is finite: it would wait for the device. So the device itself
remembers the first loss that is not, and from then on leaves parameters and moments alone: torch's fused
optimisers skip a step where `found_inf` is 1. Losses come down fifty at a time, while the device goes on. The host
looks at them one block later, and finds the update at which the training diverged, as it would have at once.
Parameters and moments are still those of before that update. Statistics of batch norms are not: they follow every
forward pass.

An update is captured as a CUDA graph where that can be (`attrib_core/capture.py`): it reads its minibatch and its
learning rate from memory that is filled before each call.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from attrib_core.capture import Recorder, captured
from attrib_core.downloads import Download
from attrib_core.execution import Execution
from attrib_core.training.feed import Feed, Minibatch, Tensors
from attrib_core.training.randomness import keyed_randomness
from attrib_core.training.update import Update, check_loss

NUM_LOSSES = 50  # of a block that comes down at once


class Training(Protocol):
    """What is trained: a `Trainer`."""

    optimizer: torch.optim.Optimizer
    execution: Execution

    @property
    def steps_per_epoch(self) -> int: ...
    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor: ...
    def dropout_seed(self, step: int) -> int: ...


@dataclass
class _Losses:
    """Losses of some updates, on the device until they are asked for."""

    on_device: Tensor  # [NUM_LOSSES]
    updates: list[tuple[int, float]] = field(default_factory=list)  # number and learning rate
    _download: Download | None = None
    _num_sent: int = 0

    def add(self, step: int, learning_rate: float, loss: Tensor) -> int:
        """Keep the loss of one update; return its position."""
        self.on_device[len(self.updates)].copy_(loss)
        self.updates.append((step, learning_rate))
        return len(self.updates) - 1

    @property
    def is_full(self) -> bool:
        return len(self.updates) == len(self.on_device)

    def send(self) -> None:
        """Start to copy the losses down."""
        self._download, self._num_sent = Download(self.on_device), len(self.updates)

    def on_cpu(self) -> Tensor:
        """Return the losses of all updates up to now."""
        if self._download is None or self._num_sent < len(self.updates):
            self.send()
        assert self._download is not None
        return self._download.wait()

    def loss(self, position: int) -> float:
        """Return one loss."""
        return self.on_cpu()[position].item()

    def check(self) -> None:
        """Raise DivergedError for the first loss that is not finite."""
        losses = self.on_cpu()[: len(self.updates)].tolist()
        for loss, (step, learning_rate) in zip(losses, self.updates, strict=True):
            check_loss(loss, step, learning_rate)


class DeferredUpdates:
    """Makes a training's updates on its device."""

    def __init__(self, training: Training, feed: Feed, recorder: Recorder | None) -> None:
        self._training, self._feed, self._recorder = training, feed, recorder
        self._device = training.execution.device
        self._rate, self._diverged = (torch.zeros((), device=self._device) for _ in range(2))
        optimizer = training.optimizer
        for group in optimizer.param_groups:
            group["lr"] = self._rate
            group["capturable"] = True
        optimizer.found_inf = self._diverged  # type: ignore[attr-defined]  # torch reads it so, as its GradScaler does
        # torch warns where a capturable optimiser runs outside a graph, as in the calls before the capture.
        optimizer._warned_capturable_if_run_uncaptured = True
        # By the shapes of a minibatch: the memory that it is copied to, and the captured update.
        self._captured: dict[tuple[torch.Size, ...], tuple[Tensors, Callable[[], Tensor]]] = {}
        self._sent: deque[_Losses] = deque()
        self._losses = self._new_losses()

    def advance(self, step: int) -> Update:
        """Make update number `step` (from 0). Raises DivergedError if an earlier loss was not finite."""
        if self._losses.is_full:
            self._send()
        minibatch = self._feed.minibatch(step)
        self._rate.copy_(minibatch.uploaded_rate)
        run = self._prepared(minibatch)
        with keyed_randomness(self._device, self._training.dropout_seed(step)):
            loss = run()
        position = self._losses.add(step, minibatch.learning_rate, loss)
        return Update(
            step=step + 1,
            epoch=step // self._training.steps_per_epoch,
            loss_of=partial(self._losses.loss, position),
            learning_rate=minibatch.learning_rate,
            indices=minibatch.indices,
        )

    def settle(self, until: int) -> None:
        """Look at the losses of updates before number `until`. Raises DivergedError if one is not finite."""
        while self._sent and self._sent[0].updates[0][0] < until:
            self._sent.popleft().check()
        if self._losses.updates and self._losses.updates[0][0] < until:
            losses, self._losses = self._losses, self._new_losses()
            losses.check()

    def forget(self, *, keep_captured: bool) -> None:
        """Begin anew from a state that was set from outside."""
        self._sent.clear()
        self._losses = self._new_losses()
        self._diverged.zero_()
        if not keep_captured:
            self._captured.clear()

    def _send(self) -> None:
        """Let a full block of losses come down, and look at the one before it, which has arrived by now."""
        self._losses.send()
        self._sent.append(self._losses)
        self._losses = self._new_losses()
        while len(self._sent) > 1:
            self._sent.popleft().check()

    def _new_losses(self) -> _Losses:
        return _Losses(torch.empty(NUM_LOSSES, device=self._device))

    def _prepared(self, minibatch: Minibatch) -> Callable[[], Tensor]:
        """Return the update on memory that now holds the minibatch."""
        shapes = tuple(each.shape for each in minibatch.uploaded)
        if shapes not in self._captured:
            memory = tuple(torch.empty_like(each) for each in minibatch.uploaded)
            update = captured(partial(self._update, memory), self._recorder, "an update of the weights")
            self._captured[shapes] = memory, update
        memory, update = self._captured[shapes]
        for target, uploaded in zip(memory, minibatch.uploaded, strict=True):
            target.copy_(uploaded)
        return update

    def _update(self, minibatch: Tensors) -> Tensor:
        """Make one update and return its loss `[]`; change nothing if a loss up to this one is not finite."""
        training = self._training
        inputs, labels = self._feed.source.on_device(*minibatch)
        with training.execution.numerics():
            loss = training.loss(inputs, labels)
            # loss − loss is 0, or NaN if the loss is not finite. Taken for a truth value, NaN is true.
            self._diverged.logical_or_((loss - loss).detach())
            training.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
            training.optimizer.step()
        return loss.detach()
