"""One update of the weights, and its loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


class DivergedError(Exception):
    """The loss or the weights are NaN or infinite; `step` is the number of updates made before."""

    def __init__(self, message: str, step: int = 0) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True, kw_only=True)
class Update:
    """One update of the weights; `step` counts the updates so far, including this one."""

    step: int
    epoch: int  # from 0
    loss_of: Callable[[], float]
    learning_rate: float
    indices: Tensor  # [B], of the minibatch's images

    @property
    def loss(self) -> float:
        """Mean over the minibatch, before the update. The host waits for it if it is still on the device."""
        return self.loss_of()


def check_loss(loss: float, step: int, learning_rate: float) -> None:
    """Raise DivergedError if the loss of update number `step` (from 0) is not finite."""
    if not math.isfinite(loss):
        raise DivergedError(
            f"step {step}: the loss is {loss} at learning rate {learning_rate:g}; try a smaller one", step
        )
