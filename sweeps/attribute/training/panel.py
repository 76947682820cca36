"""A panel of images whose attribution is followed from state to state of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.downloads import Download
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel, default_batch_size
from attrib_core.training import DivergedError, GradientSums, Trainer, Update
from sweeps.attribute.columns import attribution_columns, nullable
from sweeps.attribute.training.panel_pass import FollowSettings, Look, Panel, PanelPass

LOSS_GRADIENT = "loss_gradient"
# States whose attributions wait in float32 before they are packed as they are stored, and the most numbers of them
# that wait on a device.
NUM_UNPACKED = 50
NUMBERS_UNPACKED = 2**26


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


class PanelPasses:
    """The looks at a panel that a training is followed by; they may follow it again and again."""

    def __init__(
        self, classifier: Classifier, panel: Panel, settings: FollowSettings, execution: Execution
    ) -> None:
        # Not `prepare`, which may copy weights: the classifier shares those of the network in training.
        batch_size = default_batch_size(execution.device, panel.image_shape, len(panel.indices))
        self._model = PreparedModel(classifier, execution, batch_size)
        self.panel, self.settings = panel, settings
        self._passes: dict[
            tuple[tuple[str, ...], bool], PanelPass
        ] = {}  # by methods, and whether they are scored

    @property
    def is_deferred(self) -> bool:
        """True if what is seen stays on a device for a while."""
        return self._model.device.type != "cpu"

    def pass_at(self, step: int) -> PanelPass | None:
        """Return the look at the state after `step` updates; None if nothing is to be seen there."""
        methods = self.settings.methods_by_state if self.is_recorded(step) else ()
        if self.settings.summed_methods and LOSS_GRADIENT not in methods:
            methods = (*methods, LOSS_GRADIENT)
        key = methods, self.is_recorded(step)
        if methods and key not in self._passes:
            self._passes[key] = PanelPass(
                self._model, self.panel, self.settings, methods, is_scored=self.is_recorded(step)
            )
        return self._passes.get(key)

    def is_recorded(self, step: int) -> bool:
        """Return whether a state has rows of its own."""
        return step % self.settings.every == 0 and bool(self.settings.methods_by_state)


@dataclass(kw_only=True)
class _Seen:
    """A state that was looked at, and what came of it, packed."""

    step: int
    update: Update | None
    by: PanelPass
    packed: Tensor
    is_checked: bool = False


@dataclass(kw_only=True)
class _Batch:
    """States whose attributions come down from the device together."""

    states: list[_Seen] = field(default_factory=list)
    _download: Download | None = None

    @property
    def is_full(self) -> bool:
        numbers = sum(len(state.packed) for state in self.states)
        return len(self.states) == NUM_UNPACKED or numbers > NUMBERS_UNPACKED

    def send(self) -> None:
        """Start to bring the packed states to the CPU, in one copy."""
        packed = [state.packed for state in self.states]
        if self._download is None and packed and packed[0].device.type != "cpu":
            self._download = Download(torch.cat(packed))

    def arrive(self) -> None:
        """Wait until the packed states are on the CPU."""
        self.send()
        if self._download is not None:
            parts = torch.split(self._download.wait(), [len(state.packed) for state in self.states])
            for state, part in zip(self.states, parts, strict=True):
                state.packed = part
            self._download = None


class Follower:
    """Attributions of a panel at the states that it is shown; changes nothing of the training.

    What comes of a state stays on the device for a while. The host looks at a batch of states while the device is
    busy with the next one.
    """

    def __init__(self, passes: PanelPasses) -> None:
        self._passes, self._settings = passes, passes.settings
        settings, shape = passes.settings, passes.panel.pixels.shape
        self._sent: list[_Batch] = []
        self._batch = _Batch()
        self._unpacked: dict[str, list[Tensor]] = {name: [] for name in settings.methods_by_state}
        self._scores: dict[str, list[Mapping[str, Tensor]]] = {name: [] for name in settings.methods_by_state}
        self.followed = Followed(packed={name: [] for name in settings.methods_by_state})
        if settings.summed_methods:
            self.followed.sums = GradientSums.zeros(*shape)

    def observe(self, step: int, update: Update | None) -> None:
        """Attribute the state after `step` updates, of which `update` was the last."""
        look = self._passes.pass_at(step)
        if look is None:
            return
        self._batch.states.append(_Seen(step=step, update=update, by=look, packed=_at(step, look)))
        if not self._passes.is_deferred:
            _check(self._batch.states[-1])

    def settle(self, trainer: Trainer, *, all_of_it: bool = False) -> None:
        """Take over what has arrived, in batches; all of it at the end.

        Raises DivergedError, or ValueError for logits that are no numbers, whichever comes first in the training.
        """
        if self._batch.states and (all_of_it or self._batch.is_full):
            self._batch.send()
            self._sent.append(self._batch)
            self._batch = _Batch()
        is_late = 1 if self._passes.is_deferred and not all_of_it else 0
        while len(self._sent) > is_late:
            trainer.settle(self._sent[0].states[-1].step)
            batch = self._sent.pop(0)
            batch.arrive()
            for state in batch.states:
                _check(state)
                self._take(state)
            self._pack()

    def check(self, last_step: int) -> None:
        """Raise ValueError if logits of a state up to this one are no numbers."""
        for batch in [*self._sent, self._batch]:
            batch.arrive()
            for state in batch.states:
                if state.step <= last_step:
                    _check(state)

    def finish(self) -> Followed:
        """Return all that was observed, packed."""
        assert not [*self._sent, *self._batch.states], "settle first"
        return self.followed

    def _take(self, seen: _Seen) -> None:
        followed, look = self.followed, seen.by.look(seen.packed)
        followed.last = _state(seen, look)
        if followed.sums is not None:
            followed.sums.add(look.values[LOSS_GRADIENT])
        if self._passes.is_recorded(seen.step):
            followed.states.append(followed.last)
            for name, values in self._unpacked.items():
                values.append(look.values[name])
                self._scores[name].append(look.scores.get(name, {}))

    def _pack(self) -> None:
        for name, values in self._unpacked.items():
            if values:
                scores = self._scores[name]
                columns = {
                    column: nullable(torch.cat([each[column] for each in scores])) for column in scores[0]
                }
                self.followed.packed[name].append(attribution_columns(torch.cat(values)) | columns)
                values.clear()
                scores.clear()


def _state(seen: _Seen, look: Look) -> State:
    update = seen.update
    return State(
        step=seen.step,
        epoch=update.epoch if update else 0,
        training_loss=update.loss if update else None,
        prediction=look.prediction().numpy(),
        confidence=look.confidence().numpy(),
    )


def _at(step: int, look: PanelPass) -> Tensor:
    try:
        return look()
    except ValueError as error:
        raise _named(step, error) from error


def _check(seen: _Seen) -> None:
    """Raise ValueError, once, for logits that are no numbers."""
    if not seen.is_checked:
        try:
            seen.by.check(seen.by.look(seen.packed))
        except ValueError as error:
            raise _named(seen.step, error) from error
    seen.is_checked = True


def _named(step: int, error: ValueError) -> ValueError:
    return ValueError(f"after {step} updates: {error}; did the training diverge?")


def follow(trainer: Trainer, until: int, followers: Sequence[Follower]) -> float | None:
    """Train up to step `until`; let the followers observe every state on the way, the untrained one too.

    Returns the loss of the last update, None where there was none. Raises DivergedError for a loss, and ValueError
    for logits that are not finite. On a device it may have gone on by then, but followers have taken nothing over.
    """
    update = None
    try:
        if trainer.step == 0:
            for follower in followers:
                follower.observe(0, None)
        while trainer.step < until:
            update = trainer.advance()
            for follower in followers:
                follower.observe(trainer.step, update)
                follower.settle(trainer)
        trainer.settle()
    except DivergedError as error:
        for follower in followers:
            follower.check(error.step)
        raise
    for follower in followers:
        follower.settle(trainer, all_of_it=True)
    return None if update is None else update.loss
