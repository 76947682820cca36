"""A panel of images whose attribution is followed from state to state of a training."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.attribution import Attributions, AttributionSettings, Target, attribute
from attrib_core.classifiers import Classifier
from attrib_core.datasets import Dataset, View
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel, default_batch_size
from attrib_core.training import SUMMED_METHODS, GradientSums, Trainer, Update
from sweeps.attribute.columns import attribution_columns

LOSS_GRADIENT = "loss_gradient"
# States whose attributions wait in float32 before they are packed as they are stored.
NUM_UNPACKED = 50


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Images `[P, C, H, W]` in [0, 1] with their labels, on the device, and where they are from."""

    indices: tuple[int, ...]
    pixels: NDArray[np.uint8]  # [P, C, H, W]
    images: Tensor
    labels: Tensor

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`[C, H, W]`."""
        return self.pixels.shape[1], self.pixels.shape[2], self.pixels.shape[3]

    @classmethod
    def read(cls, dataset: Dataset, indices: Sequence[int], view: View, execution: Execution) -> "Panel":
        """Read images of a data set by index."""
        pixels = dataset.images(indices, view)
        return cls(
            indices=tuple(indices),
            pixels=pixels,
            images=execution.images(torch.from_numpy(pixels)).float() / 255,
            labels=torch.from_numpy(dataset.labels[list(indices)]).to(execution.device),
        )


@dataclass(frozen=True, kw_only=True)
class FollowSettings:
    """What is computed at a state. `every` is in updates; sums over training take every state."""

    methods: tuple[str, ...]
    target: Target
    every: int
    attribution: AttributionSettings

    @property
    def methods_by_state(self) -> tuple[str, ...]:
        """Those with an attribution of their own at each state."""
        return tuple(method for method in self.methods if method not in SUMMED_METHODS)

    @property
    def summed_methods(self) -> tuple[str, ...]:
        """Those that add up over states."""
        return tuple(method for method in self.methods if method in SUMMED_METHODS)


@dataclass(frozen=True, kw_only=True)
class State:
    """A state of the training as the panel shows it; `training_loss` is None before the first update."""

    step: int
    epoch: int
    training_loss: float | None
    prediction: NDArray[np.int64]  # [P]
    confidence: NDArray[np.float32]  # [P]


@dataclass(kw_only=True)
class Followed:
    """What came of some states: `packed` by method, state by state and image by image."""

    states: list[State] = field(default_factory=list)
    packed: dict[str, list[dict[str, pa.Array]]] = field(default_factory=dict)
    last: State | None = None  # the last state seen, recorded or not
    sums: GradientSums | None = None


class Follower:
    """Attributions of a panel at the states that it is shown; changes nothing of the training."""

    def __init__(
        self, classifier: Classifier, panel: Panel, settings: FollowSettings, execution: Execution
    ) -> None:
        # Not `prepare`, which may copy weights: the classifier shares those of the network in training.
        batch_size = default_batch_size(execution.device, panel.image_shape, len(panel.indices))
        self._model = PreparedModel(classifier, execution, batch_size)
        self._panel, self._settings = panel, settings
        self._unpacked: dict[str, list[Tensor]] = {name: [] for name in settings.methods_by_state}
        self.followed = Followed(packed={name: [] for name in settings.methods_by_state})
        if settings.summed_methods:
            self.followed.sums = GradientSums.zeros(*panel.images.shape)

    def observe(self, step: int, update: Update | None) -> None:
        """Attribute the state after `step` updates, of which `update` was the last."""
        settings, followed = self._settings, self.followed
        is_recorded = step % settings.every == 0 and bool(settings.methods_by_state)
        methods = settings.methods_by_state if is_recorded else ()
        if followed.sums is not None and LOSS_GRADIENT not in methods:
            methods = (*methods, LOSS_GRADIENT)
        if not methods:
            return
        found = self._attribute(methods, step)
        followed.last = State(
            step=step,
            epoch=update.epoch if update else 0,
            training_loss=update.loss if update else None,
            prediction=found.prediction.numpy(),
            confidence=found.confidence.numpy(),
        )
        if followed.sums is not None:
            followed.sums.add(found.values[LOSS_GRADIENT])
        if is_recorded:
            followed.states.append(followed.last)
            for name, values in self._unpacked.items():
                values.append(found.values[name])
            if len(followed.states) % NUM_UNPACKED == 0:
                self._pack()

    def finish(self) -> Followed:
        """Return all that was observed, packed."""
        self._pack()
        return self.followed

    def _attribute(self, methods: Sequence[str], step: int) -> Attributions:
        try:
            return attribute(
                self._model,
                self._panel.images,
                self._panel.labels,
                methods,
                target=self._settings.target,
                settings=self._settings.attribution,
                keys=self._panel.indices,
            )
        except ValueError as error:  # logits that are no numbers
            raise ValueError(f"after {step} updates: {error}; did the training diverge?") from error

    def _pack(self) -> None:
        for name, values in self._unpacked.items():
            if values:
                self.followed.packed[name].append(attribution_columns(torch.cat(values)))
                values.clear()


def follow(trainer: Trainer, until: int, followers: Sequence[Follower]) -> float | None:
    """Train up to step `until`; let the followers observe every state on the way, the untrained one too.

    Returns the loss of the last update, None where there was none.
    """
    if trainer.step == 0:
        for follower in followers:
            follower.observe(0, None)
    loss = None
    while trainer.step < until:
        update = trainer.advance()
        loss = update.loss
        for follower in followers:
            follower.observe(trainer.step, update)
    return loss
