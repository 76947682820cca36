"""Does a training that is played again from a checkpoint arrive where it was recorded, bit for bit?"""

from collections.abc import Iterator
from dataclasses import dataclass

from attrib_core.attribution import attribute
from attrib_core.execution import choose_execution
from attrib_core.prepared import PreparedModel
from attrib_core.training import (
    Tape,
    TapeError,
    TapeHeader,
    Trainer,
    TrainingSettings,
    initial_network,
    live_classifier,
)
from gpu.bench import Bench
from gpu.results import Check, Result

SEGMENT = 10


@dataclass(frozen=True)
class Entry:
    """A file in memory."""

    path: str


class Memory:
    """The files of a tape, in memory."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def put(self, path: str, content: bytes) -> None:
        self._files[path] = content

    def read_if_present(self, path: str) -> bytes | None:
        return self._files.get(path)

    def list(self, folder: str) -> Iterator[Entry]:
        return (Entry(path) for path in self._files if path.startswith(f"{folder}/"))


def run(bench: Bench) -> list[Iterator[Result]]:
    """Record two segments of two trainings, and play the second again, alone and followed by attributions."""
    return [_played_again(bench, "fashion_deep", "adam"), _played_again(bench, "fashion_alexnet", "sgd")]


def _played_again(bench: Bench, model: str, optimizer: str) -> Iterator[Result]:
    tape, trainer = Memory(), new_trainer(bench, model, optimizer)
    recorded = _record(tape, model, trainer)
    for followed in (False, True):
        again = new_trainer(bench, model, optimizer)
        recorded.restore(again, SEGMENT)
        _play(bench, again, model, followed=followed)
        note = "arrives at the recorded weights and optimiser"
        try:
            recorded.check(again)
        except TapeError as error:
            note = str(error)
        name = f"a tape of {model}, {optimizer}{', followed' * followed}, bit for bit"
        yield Check(name=name, passed=note.startswith("arrives"), note=note)


def new_trainer(bench: Bench, model: str, optimizer: str = "adam") -> Trainer:
    """Return a training at its first step, in minibatches of 16."""
    settings = TrainingSettings(epochs=1, batch_size=16, schedule="constant", optimizer=optimizer)
    execution = choose_execution(bench.device)
    preprocessing = bench.small_model.preprocessing
    return Trainer(initial_network(model, 10, seed=0), preprocessing, bench.dataset, settings, execution)


def _record(files: Memory, model: str, trainer: Trainer) -> Tape:
    header = TapeHeader(
        model=model,
        dataset="fashion_mnist",
        data_digest="",
        settings=trainer.settings,
        segment=SEGMENT,
        num_steps=trainer.num_steps,
    )
    tape = Tape.begin(files, "tape", header)
    for _ in range(2):
        for _ in range(SEGMENT):
            trainer.advance()
        tape.write(trainer)
    return tape


def _play(bench: Bench, trainer: Trainer, model: str, *, followed: bool) -> None:
    execution = choose_execution(bench.device)
    view = live_classifier(trainer.network, model, bench.dataset.class_names, execution)
    followed_model = PreparedModel(view, execution, 16)
    for _ in range(SEGMENT):
        trainer.advance()
        if followed:
            attribute(followed_model, bench.images[:16], bench.labels[:16], ["gradient_x_input"])
