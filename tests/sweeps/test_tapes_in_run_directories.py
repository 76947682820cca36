"""A tape lies in a run directory of any kind, on a disk or in an object store, and plays from there."""

from pathlib import Path

import pytest

from attrib_core.execution import choose_execution
from attrib_core.training import Tape
from attrib_core.training.state import digest, weights_of
from sweeps.attribute.training.grid import TrainingInputs
from sweeps.attribute_training import AttributeTrainingOptions, read_inputs
from sweeps.store import RunDirectory


@pytest.fixture
def inputs(tmp_path: Path, write_fashion_mnist) -> TrainingInputs:
    (tmp_path / "data").mkdir()
    root = write_fashion_mnist(tmp_path / "data", num_train=96, num_test=4)
    return read_inputs(AttributeTrainingOptions(output="unused", data_root=root, segment=2))


def test_a_tape_is_recorded_listed_and_played(run: RunDirectory, inputs: TrainingInputs) -> None:
    execution = choose_execution("cpu")
    [trial] = inputs.trials.values()
    header = inputs.header(trial, device="cpu", threads=1)
    trainer = inputs.trainer(trial, execution)
    tape = Tape.begin(run.files, trial.tape_folder, header)
    tape.write(trainer)
    for update in trainer.updates():
        if update.step == 2:
            tape.write(trainer)
    assert not tape.is_complete
    tape.write(trainer)

    opened = Tape.open(RunDirectory(run.url).files, trial.tape_folder)
    assert opened is not None
    assert opened.header == header
    assert opened.recorded() == [0, 2]  # the checkpoint at 4 was never written
    again = inputs.trainer(trial, execution)
    opened.restore(again, 2)
    list(again.updates())
    opened.check(again)
    assert digest(weights_of(again)) == digest(weights_of(trainer))
    assert list(run.committed()) == []
