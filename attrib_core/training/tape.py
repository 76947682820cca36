"""A training recorded as a tape: its state every K updates. Any segment between two states can be played again.

A checkpoint is two safetensors files: the optimiser's state, then the weights. The weights file can be given to
`load_classifier(weights=...)`; its metadata hold the digests of both files and of the data's order. `tape.json`
says which network, data and settings were trained, and on what: another kind of device, or another number of
threads, rounds differently.

Why segments that are played apart are the recorded training, bit for bit:

1. The state is the weights, the optimiser's state and the step. Everything else that an update uses (data
   order, augmentation, dropout, learning rate) is computed from the settings and the step (see `loop.py`). So
   one update is a function: state n + 1 = F(state n).
2. `restore` loads a recorded state and compares digests, so the first state of a segment is the recorded one. It
   also compares the order of the data before any update is made.
3. `check` compares the state at the end of a segment with the recorded one, which is the first state of the
   next segment. If every segment arrives there, the segments join without a gap, whoever played them and in
   which order. A deviation inside would show at the end, since each state is computed from the one before.

So sums over the states of all segments are the sums over the whole training.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from attrib_core.training.loop import Trainer
from attrib_core.training.settings import TrainingSettings
from attrib_core.training.state import (
    digest,
    optimizer_state_of,
    order_digest,
    set_optimizer_state,
    set_weights,
    weights_of,
)
from attrib_core.training.tape_device import OF_A_GPU, RunsOn, runs_on, why_it_cannot_play

_logger = logging.getLogger(__name__)

HEADER = "tape.json"
WEIGHTS, OPTIMIZER = "weights", "optimizer"
FOLDERS = {WEIGHTS: "checkpoints", OPTIMIZER: "optimizer"}
FACTS = "tape"  # the key of a weights file's metadata


class TapeError(ValueError):
    """A tape is damaged, incomplete, or does not play as it was recorded."""


class Entry(Protocol):
    """A stored file; `path` is relative to the root of the `TapeFiles`."""

    @property
    def path(self) -> str: ...


class TapeFiles(Protocol):
    """Storage of tapes. A file is written completely or not at all."""

    def put(self, path: str, content: bytes) -> None: ...
    def read_if_present(self, path: str) -> bytes | None: ...
    def list(self, folder: str) -> Iterator[Entry]: ...


@dataclass(frozen=True, kw_only=True)
class TapeHeader:
    """Description of a training and of what it ran on; `segment` is the number of updates between checkpoints.

    `definition` says which code a user's own network was, and how it saw its images: words to compare, no more.
    """

    model: str
    dataset: str
    data_digest: str
    settings: TrainingSettings
    segment: int
    num_steps: int
    device: str = "cpu"
    threads: int = 1
    channels_last: bool = True
    torch_version: str = torch.__version__
    precision: str = "float32"
    card: str | None = None  # the name of a CUDA device
    cuda: str | None = None
    cudnn: int | None = None
    definition: str | None = None  # of a user's own network

    def to_json(self) -> bytes:
        """Return the content of the header's file."""
        stored = asdict(self)
        if self.definition is None:  # tapes of this project's own networks stay as they always were
            del stored["definition"]
        if self.device == "cpu":
            stored = {name: value for name, value in stored.items() if name not in OF_A_GPU}
        return (json.dumps(stored, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, where: str) -> Self:
        """Parse a header's file, which messages call `where`; TapeError if it is not a tape's header."""
        try:
            stored = json.loads(content)
            return cls(**(stored | {"settings": TrainingSettings(**stored["settings"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise TapeError(f"{where}: it is no tape's header: {error}") from error

    def difference(self, asked: Self) -> str | None:
        """Describe the first field in which `asked` is another training; None if it is the same one.

        What it ran on does not count here: `Tape` compares that before it plays.
        """
        wanted = asked._of_the_training()
        for name, recorded in self._of_the_training().items():
            if recorded != wanted[name]:
                return f"{name}: recorded {recorded!r}, asked for {wanted[name]!r}"
        return None

    def _of_the_training(self) -> dict[str, Any]:
        names = ("model", "definition", "dataset", "data_digest", "segment")
        own = {name: getattr(self, name) for name in names}
        return own | asdict(self.settings) | {"num_steps": self.num_steps}

    @property
    def runs_on(self) -> RunsOn:
        """What it was recorded on."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in RunsOn.__annotations__}
        return cast(RunsOn, fields)

    def checkpoint_steps(self) -> list[int]:
        """Return the steps of a complete tape's checkpoints: 0, K, 2 K, ..., the last."""
        return [*range(0, self.num_steps, self.segment), self.num_steps]


class Tape:
    """The recorded states of one training, in a folder of their own."""

    def __init__(self, files: TapeFiles, folder: str, header: TapeHeader) -> None:
        self.header = header
        self._files, self._folder = files, folder

    @classmethod
    def open(cls, files: TapeFiles, folder: str) -> Self | None:
        """Open the tape in a folder; None if there is none. Raises TapeError if the header cannot be read."""
        path = f"{folder}/{HEADER}"
        content = files.read_if_present(path)
        return None if content is None else cls(files, folder, TapeHeader.from_json(content, path))

    @classmethod
    def begin(cls, files: TapeFiles, folder: str, header: TapeHeader) -> Self:
        """Store the header and return a tape without checkpoints."""
        files.put(f"{folder}/{HEADER}", header.to_json())
        return cls(files, folder, header)

    def write(self, trainer: Trainer) -> str:
        """Record the trainer's state at its current step; return the digest of its weights."""
        weights, optimizer = weights_of(trainer), optimizer_state_of(trainer)
        facts = _facts(trainer, weights, optimizer)
        # The weights go last: they hold the digests, so a crash in between leaves no file that promises a
        # checkpoint.
        self._files.put(self._path(OPTIMIZER, trainer.step), safetensors.torch.save(optimizer))
        content = safetensors.torch.save(weights, {FACTS: json.dumps(facts)})
        self._files.put(self._path(WEIGHTS, trainer.step), content)
        return str(facts[WEIGHTS])

    def restore(self, trainer: Trainer, step: int) -> str:
        """Set the trainer to a recorded state; return the digest of its weights.

        Raises TapeError if that checkpoint is missing, damaged, or of another network or order of the data, and if
        the trainer runs on a device that rounds differently.
        """
        self._check_device(trainer)
        facts, weights = self._read_weights(step)
        optimizer = self._read(OPTIMIZER, step)
        for kind, tensors in ((WEIGHTS, weights), (OPTIMIZER, optimizer)):
            if digest(tensors) != facts[kind]:
                raise TapeError(f"{self._path(kind, step)}: damaged, its digest is not the recorded one")
        try:
            set_weights(trainer, weights)
            set_optimizer_state(trainer, optimizer)
        except ValueError as error:
            raise TapeError(f"{self._folder}: step {step}: {error}") from error
        trainer.step = step
        if order_digest(trainer) != facts["order"]:
            raise TapeError(
                f"{self._folder}: step {step}: the data come in another order; {self._versions()}"
            )
        return str(facts[WEIGHTS])

    def resume(self, trainer: Trainer) -> str:
        """Set the trainer to the last usable state before the first gap; return the digest of its weights.

        Skips damaged checkpoints: the training goes on from the one before and records them again. If there is no
        usable checkpoint, records the trainer's current state. Raises TapeError if the trainer runs on a device
        that rounds differently.
        """
        self._check_device(trainer)
        for step in reversed(self.recorded()):
            try:
                return self.restore(trainer, step)
            except TapeError as error:
                _logger.warning("%s; going back", error)
        return self.write(trainer)

    def check(self, trainer: Trainer) -> None:
        """Raise TapeError unless the trainer's state is, bit for bit, the one recorded at its step."""
        facts, _ = self._read_weights(trainer.step)
        found = _facts(trainer, weights_of(trainer), optimizer_state_of(trainer))
        wrong = [kind for kind in (WEIGHTS, OPTIMIZER) if found[kind] != facts[kind]]
        if wrong:
            raise TapeError(
                f"{self._folder}: played to step {trainer.step}, it does not arrive at the recorded "
                f"{' and '.join(wrong)}, bit for bit; {self._versions()}"
            )

    def recorded(self) -> list[int]:
        """Return the steps of all checkpoints before the first missing one, in order."""
        found = {entry.path for entry in self._files.list(self._folder)}
        steps: list[int] = []
        for step in self.header.checkpoint_steps():
            if not {self._path(WEIGHTS, step), self._path(OPTIMIZER, step)} <= found:
                break
            steps.append(step)
        return steps

    @property
    def is_complete(self) -> bool:
        """True if every checkpoint up to the last is recorded."""
        return len(self.recorded()) == len(self.header.checkpoint_steps())

    def _check_device(self, trainer: Trainer) -> None:
        running = runs_on(trainer.execution, torch.get_num_threads())
        if reason := why_it_cannot_play(self.header.runs_on, running):
            raise TapeError(f"{self._folder}: {reason}")

    def _path(self, kind: str, step: int) -> str:
        return f"{self._folder}/{FOLDERS[kind]}/step-{step:08d}.safetensors"

    def _read(self, kind: str, step: int) -> dict[str, Tensor]:
        return _parse(self._content(kind, step), self._path(kind, step))

    def _read_weights(self, step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        content, path = self._content(WEIGHTS, step), self._path(WEIGHTS, step)
        weights = _parse(content, path)
        try:
            facts = json.loads(_metadata(content)[FACTS])
            assert facts["step"] == step, facts
        except (KeyError, ValueError, AssertionError) as error:
            raise TapeError(f"{path}: no checkpoint of a tape at step {step}") from error
        return facts, weights

    def _content(self, kind: str, step: int) -> bytes:
        content = self._files.read_if_present(self._path(kind, step))
        if content is None:
            steps = self.recorded()
            recorded = f"steps 0 to {steps[-1]} of {self.header.num_steps}" if steps else "no steps"
            raise TapeError(
                f"{self._path(kind, step)}: missing, the tape is cut short: recorded are {recorded}"
            )
        return content

    def _versions(self) -> str:
        recorded, running = self.header.torch_version, torch.__version__
        device = self.header.card or self.header.device
        where = f"recorded on {device} with {self.header.threads} threads by torch {recorded}"
        if recorded == running:
            return f"{where}, the version that runs now: another kind of processor, or a damaged checkpoint"
        return f"{where}, while {running} runs now: play it with torch {recorded}, or record it anew"


def _facts(trainer: Trainer, weights: dict[str, Tensor], optimizer: dict[str, Tensor]) -> dict[str, Any]:
    return {
        "step": trainer.step,
        WEIGHTS: digest(weights),
        OPTIMIZER: digest(optimizer),
        "order": order_digest(trainer),
        "torch_version": torch.__version__,
    }


def _parse(content: bytes, path: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError) as error:
        raise TapeError(f"{path}: damaged or cut short: {error}") from error


def _metadata(content: bytes) -> dict[str, str]:
    # A safetensors file begins with the length of its JSON header (8 bytes), then the header.
    end = 8 + int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8:end]).get("__metadata__", {})
    return metadata
