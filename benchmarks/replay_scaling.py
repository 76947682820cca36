"""Does playing a finished tape with costly methods scale from one single-threaded actor to two?

The pool plays all segments of one tape with occlusion and integrated gradients of a panel and commits the rows:
with one actor, then with two, in alternating rounds. Seconds run from when every actor has played a segment to the
last commit; the starts are left out.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from reporting import Finding, Row, command_line, publish

from attrib_core.execution import choose_execution
from attrib_core.training import Tape
from cluster.pool import Committed, Pool, PoolOptions
from cluster.session import connect
from sweeps.attribute.training.grid import TrainingInputs
from sweeps.attribute_training import AttributeTrainingOptions, training_sweep
from sweeps.plan import Shard
from sweeps.store.local_files import LocalFiles

METHODS = "occlusion,integrated_gradients"


def record(folder: str, inputs: TrainingInputs, num_steps: int) -> None:
    """Record the beginning of a tape."""
    [trial] = inputs.trials.values()
    torch.set_num_threads(1)
    trainer = inputs.trainer(trial, choose_execution())
    header = inputs.header(trial, device=choose_execution().device.type, threads=1)
    tape = Tape.begin(LocalFiles(Path(folder)), trial.tape_folder, header)
    tape.write(trainer)
    while trainer.step < num_steps:
        trainer.advance()
        if trainer.step % inputs.segment == 0:
            tape.write(trainer)


def shards(label: str, inputs: TrainingInputs, panel: int, segments: range) -> Iterator[Shard]:
    """Return a shard for each segment."""
    [name] = inputs.trials
    axes = {"trial": name, "method": tuple(METHODS.split(",")), "image_index": tuple(range(panel))}
    return (Shard(f"{label}-{segment}", axes, ((segment,),)) for segment in segments)


def play(folder: str, options: argparse.Namespace, num_workers: int, label: str) -> float:
    """Return the seconds for all segments, once every actor is warm."""
    sweep = training_sweep(sweep_options(folder, options))
    workers = PoolOptions(num_workers=num_workers, threads_per_worker=1)
    with Pool(sweep.factory, sweep.shared, workers) as pool:
        seen: set[str] = set()
        turn = 0
        while len(seen) < num_workers:
            warm = shards(f"{label}-warm{turn}", sweep.shared, 1, range(2 * num_workers))
            seen |= {event.worker for event in pool.run(warm) if isinstance(event, Committed)}
            turn += 1
        start = time.perf_counter()
        todo = shards(label, sweep.shared, options.panel, range(options.segments))
        events = list(pool.run(todo))
        assert sum(isinstance(event, Committed) for event in events) == options.segments, events
        return time.perf_counter() - start


def sweep_options(folder: str, options: argparse.Namespace) -> AttributeTrainingOptions:
    return AttributeTrainingOptions(output=folder, methods=METHODS, segment=options.segment)


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--segments", type=int, default=24)
    parser.add_argument("--segment", type=int, default=5, help="minibatches")
    parser.add_argument("--panel", type=int, default=16, help="images")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    if options.quick:
        options.segments, options.panel, options.segment, options.rounds = 4, 4, 2, 1
    return options


def main() -> None:
    options = parse()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = training_sweep(sweep_options(folder, options)).shared
        record(folder, inputs, options.segments * options.segment)
        with connect("local", num_cpus=2):
            for number in range(options.rounds):
                row: Row = {"round": number}
                for num_workers in (1, 2) if number % 2 == 0 else (2, 1):
                    label = f"round{number}-workers{num_workers}"
                    row[f"{num_workers} actors s"] = play(folder, options, num_workers, label)
                rows.append({key: row[key] for key in ("round", "1 actors s", "2 actors s")})
                print(rows[-1], flush=True)
    one, two = (sum(row[f"{count} actors s"] for row in rows) for count in (1, 2))
    finding = Finding(name="two single-threaded actors / one, segments a second", value=one / two, target=1.8)
    publish(options, rows, [finding])


if __name__ == "__main__":
    main()
