"""What does it cost to record a training as a tape, and to follow a panel at every minibatch?

Three trainings of Fashion-MNIST on one thread, in turns of one segment each, so that all meet the same changes of
the machine's pace: plain; recorded (a checkpoint a segment); and recorded and followed by `gradient_x_input` of
a panel at every state, rows encoded and committed as in a sweep. All must end in the same weights. Beside it the
whole command, Ray's start included: `attribute_training.py` against a script that only trains.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from reporting import Finding, Row, command_line, publish

from attrib_core.training import Tape, Trainer
from attrib_core.training.state import digest, weights_of
from sweeps.attribute.training.grid import TrainingInputs, Trial
from sweeps.attribute.training.panel import follow
from sweeps.attribute.training.segment_job import SegmentJob
from sweeps.attribute.training.segment_rows import SegmentAxes
from sweeps.attribute_training import AttributeTrainingOptions, read_inputs, training_sweep
from sweeps.plan import Shard
from sweeps.store.local_files import LocalFiles

ROOT = Path(__file__).parents[1]
PLAIN_SCRIPT = """
import torch
from sweeps.attribute_training import AttributeTrainingOptions, read_inputs
from attrib_core.execution import choose_execution
torch.set_num_threads({threads})
inputs = read_inputs(AttributeTrainingOptions(output="unused"))
[trial] = inputs.trials.values()
for _ in inputs.trainer(trial, choose_execution()).updates():
    pass
"""

Turn = Callable[[int], None]  # trains up to that step


class Following:
    """What a trial of the sweep does, without Tune around it."""

    def __init__(self, folder: Path, inputs: TrainingInputs, trial: Trial, methods: str) -> None:
        sweep = training_sweep(
            AttributeTrainingOptions(output=str(folder), methods=methods, segment=inputs.segment)
        )
        self._job: SegmentJob = sweep.factory(inputs)
        self._axes = {
            "trial": trial.name,
            "method": tuple(methods.split(",")),
            "image_index": tuple(range(16)),
        }
        self.trainer = inputs.trainer(trial, self._job.training_execution)
        self._classifier = self._job.live_classifier(trial, self.trainer)
        self._tape = begin_tape(folder, inputs, trial)
        self._digest = self._tape.write(self.trainer)

    def train(self, until: int) -> None:
        """Follow, record and commit a segment."""
        shard = Shard(f"segment-{until:08d}", self._axes, ((until,),))
        follower = self._job.follower(SegmentAxes.of(shard), self._classifier)
        follow(self.trainer, until, [follower])
        begin_digest, self._digest = self._digest, self._tape.write(self.trainer)
        self._job.commit(self._job.followed_shard(shard, [follower.finish()], begin_digest), 1)


def begin_tape(folder: Path, inputs: TrainingInputs, trial: Trial) -> Tape:
    """Return an empty tape."""
    header = inputs.header(trial, device="cpu", threads=1)
    return Tape.begin(LocalFiles(folder), trial.tape_folder, header)


def plain(trainer: Trainer, until: int) -> None:
    while trainer.step < until:
        trainer.advance()


def recorded(trainer: Trainer, tape: Tape, until: int) -> None:
    plain(trainer, until)
    tape.write(trainer)


def measure(folder: Path, inputs: TrainingInputs, num_steps: int) -> tuple[list[Row], dict[str, float]]:
    """Return a row for each segment, and the total seconds of each side."""
    [trial] = inputs.trials.values()
    execution = Following(folder / "unused", inputs, trial, "gradient_x_input")._job.training_execution
    trainers = {name: inputs.trainer(trial, execution) for name in ("plain", "recorded")}
    tape = begin_tape(folder / "recorded", inputs, trial)
    following = Following(folder / "followed", inputs, trial, "gradient_x_input")
    trainers["followed"] = following.trainer
    sides: dict[str, Turn] = {
        "plain": lambda until: plain(trainers["plain"], until),
        "recorded": lambda until: recorded(trainers["recorded"], tape, until),
        "followed": following.train,
    }
    rows: list[Row] = []
    for until in range(inputs.segment, num_steps + 1, inputs.segment):
        row: Row = {"step": until}
        names = list(sides)[:: 1 if until // inputs.segment % 2 else -1]
        for name in names:
            start = time.perf_counter()
            sides[name](until)
            row[f"{name} s"] = time.perf_counter() - start
        rows.append({key: row[key] for key in ("step", *(f"{name} s" for name in sides))})
        print(rows[-1], flush=True)
    assert len({digest(weights_of(trainer)) for trainer in trainers.values()}) == 1, "weights differ"
    return rows, {name: sum(row[f"{name} s"] for row in rows[1:]) for name in sides}  # the first warms up


def whole_commands(folder: Path) -> dict[str, float]:
    """Return the seconds of the command on all cores, and of a bare training on one and on all threads."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    script = ["sweeps/attribute_training.py", "--output", str(folder / "command"), "--address", "local"]
    commands = {
        "attribute_training.py": script,
        "plain script, 1 thread": ["-c", PLAIN_SCRIPT.format(threads=1)],
        "plain script, all threads": ["-c", PLAIN_SCRIPT.format(threads=os.cpu_count())],
    }
    seconds = {}
    for name, command in commands.items():
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True, capture_output=True)
        seconds[name] = time.perf_counter() - start
        print(name, f"{seconds[name]:.1f} s", flush=True)
    return seconds


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--num-steps", type=int, default=3750, help="minibatches of 16: an epoch is 3,750")
    parser.add_argument("--segment", type=int, default=250)
    parser.add_argument("--no-commands", action="store_true", help="leave the whole commands out")
    options = parser.parse_args()
    if options.quick:
        options.num_steps, options.segment, options.no_commands = 60, 20, True
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = read_inputs(AttributeTrainingOptions(output=name, segment=options.segment))
        rows, seconds = measure(folder, inputs, options.num_steps)
        findings = [
            Finding(
                name="recorded / plain",
                value=seconds["recorded"] / seconds["plain"],
                target=1.1,
                at_most=True,
            ),
            Finding(
                name="recorded and followed by gradient x input at every state / plain",
                value=seconds["followed"] / seconds["plain"],
                target=2.0,
                at_most=True,
            ),
        ]
        if not options.no_commands:
            whole = whole_commands(folder)
            command = whole.pop("attribute_training.py")
            findings += [
                Finding(name=f"the whole command / {side}, starts included", value=command / each)
                for side, each in whole.items()
            ]
    publish(options, rows, findings)


if __name__ == "__main__":
    main()
