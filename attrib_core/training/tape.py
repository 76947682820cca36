"""A training as a tape: its state every K updates, from which any stretch of it can be played again, bit for bit.

A checkpoint is two safetensors files. The weights, written last, are a file that `load_classifier(weights=...)`
takes; its metadata hold the digests of both and of the data's order. Everything random follows from the settings
and the step (see `loop.py`). `tape.json` says which network, data and settings these are, and on what they ran,
since other threads round otherwise.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

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

_logger = logging.getLogger(__name__)

HEADER = "tape.json"
WEIGHTS, OPTIMIZER = "weights", "optimizer"
FOLDERS = {WEIGHTS: "checkpoints", OPTIMIZER: "optimizer"}
FACTS = "tape"  # the key of a weights file's metadata


class TapeError(ValueError):
    """A tape that is damaged, cut short, or that does not play as it was recorded."""


class Entry(Protocol):
    """A stored file, by its path below the tape's files."""

    @property
    def path(self) -> str: ...


class TapeFiles(Protocol):
    """Where tapes lie. A file appears whole or not at all."""

    def put(self, path: str, content: bytes) -> None: ...
    def read_if_present(self, path: str) -> bytes | None: ...
    def list(self, folder: str) -> Iterator[Entry]: ...


@dataclass(frozen=True, kw_only=True)
class TapeHeader:
    """What a training is and what it ran on. `segment` is the number of updates between two checkpoints."""

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

    def to_json(self) -> bytes:
        """The header as it is stored."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, where: str) -> Self:
        """TapeError for what is no header of a tape."""
        try:
            stored = json.loads(content)
            return cls(**(stored | {"settings": TrainingSettings(**stored["settings"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise TapeError(f"{where}: it is no tape's header: {error}") from error

    def difference(self, asked: Self) -> str | None:
        """The first field in which another training is asked for, in words; what a training runs on is no such
        field, since a tape is played as it was recorded."""
        wanted = asked._of_the_training()
        for name, recorded in self._of_the_training().items():
            if recorded != wanted[name]:
                return f"{name}: recorded {recorded!r}, asked for {wanted[name]!r}"
        return None

    def _of_the_training(self) -> dict[str, Any]:
        names = ("model", "dataset", "data_digest", "segment")
        own = {name: getattr(self, name) for name in names}
        return own | asdict(self.settings) | {"num_steps": self.num_steps}

    def checkpoint_steps(self) -> list[int]:
        """The steps of a complete tape's checkpoints: 0, K, 2 K, ..., the last."""
        return [*range(0, self.num_steps, self.segment), self.num_steps]


class Tape:
    """The recorded states of one training, in a folder of its own."""

    def __init__(self, files: TapeFiles, folder: str, header: TapeHeader) -> None:
        self.header = header
        self._files, self._folder = files, folder

    @classmethod
    def open(cls, files: TapeFiles, folder: str) -> Self | None:
        """The tape that is there; None where there is none. TapeError for a header that cannot be read."""
        path = f"{folder}/{HEADER}"
        content = files.read_if_present(path)
        return None if content is None else cls(files, folder, TapeHeader.from_json(content, path))

    @classmethod
    def begin(cls, files: TapeFiles, folder: str, header: TapeHeader) -> Self:
        """A tape without checkpoints yet; its header is stored."""
        files.put(f"{folder}/{HEADER}", header.to_json())
        return cls(files, folder, header)

    def write(self, trainer: Trainer) -> str:
        """Records the trainer's state at its present step; returns the digest of its weights."""
        weights, optimizer = weights_of(trainer), optimizer_state_of(trainer)
        facts = _facts(trainer, weights, optimizer)
        self._files.put(self._path(OPTIMIZER, trainer.step), safetensors.torch.save(optimizer))
        content = safetensors.torch.save(weights, {FACTS: json.dumps(facts)})
        self._files.put(self._path(WEIGHTS, trainer.step), content)
        return str(facts[WEIGHTS])

    def restore(self, trainer: Trainer, step: int) -> str:
        """Brings the trainer to a recorded state; returns the digest of its weights.

        TapeError where that checkpoint is missing, damaged, or of another network or order of the data.
        """
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
        """Brings the trainer to the last state of the unbroken beginning, and returns the digest of its weights.

        A damaged checkpoint is passed over, to be recorded again; without any the present state is recorded.
        """
        for step in reversed(self.recorded()):
            try:
                return self.restore(trainer, step)
            except TapeError as error:
                _logger.warning("%s; going back", error)
        return self.write(trainer)

    def check(self, trainer: Trainer) -> None:
        """TapeError unless the trainer's state is, bit for bit, the one recorded at its step."""
        facts, _ = self._read_weights(trainer.step)
        found = _facts(trainer, weights_of(trainer), optimizer_state_of(trainer))
        wrong = [kind for kind in (WEIGHTS, OPTIMIZER) if found[kind] != facts[kind]]
        if wrong:
            raise TapeError(
                f"{self._folder}: played to step {trainer.step}, it does not arrive at the recorded "
                f"{' and '.join(wrong)}, bit for bit; {self._versions()}"
            )

    def recorded(self) -> list[int]:
        """The steps up to which the tape is unbroken, in order: all checkpoints before the first missing one."""
        found = {entry.path for entry in self._files.list(self._folder)}
        steps: list[int] = []
        for step in self.header.checkpoint_steps():
            if not {self._path(WEIGHTS, step), self._path(OPTIMIZER, step)} <= found:
                break
            steps.append(step)
        return steps

    @property
    def is_complete(self) -> bool:
        """Whether the last state is recorded, and all before it."""
        return len(self.recorded()) == len(self.header.checkpoint_steps())

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
        where = f"recorded on {self.header.device} with {self.header.threads} threads by torch {recorded}"
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
    end = 8 + int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8:end]).get("__metadata__", {})
    return metadata
