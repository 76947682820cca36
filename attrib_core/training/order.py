"""Which images, in which order, and at which learning rate: the plan of a training's updates."""

import torch
from torch import Tensor

from attrib_core.seeding import generator
from attrib_core.training.settings import TrainingSettings


class DataOrder:
    """The order in which a training uses its images, another one in each epoch."""

    def __init__(self, num_images: int, settings: TrainingSettings) -> None:
        self._num_images, self._settings = num_images, settings
        self._order = torch.empty(0, dtype=torch.int64)
        self._epoch = -1

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches of an epoch; the last one holds the images that are left."""
        return -(-self._num_images // self._settings.batch_size)

    @property
    def num_steps(self) -> int:
        return self._settings.epochs * self.steps_per_epoch

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of update number `step` (from 0)."""
        return self._settings.learning_rate_at(step, self.num_steps)

    def minibatch(self, step: int) -> Tensor:
        """Return the indices `[B]` of the images that update number `step` (from 0) uses."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            keyed = generator("data order", self._settings.seed, epoch)
            self._order, self._epoch = torch.randperm(self._num_images, generator=keyed), epoch
        start = position * self._settings.batch_size
        return self._order[start : start + self._settings.batch_size]
