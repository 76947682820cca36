"""Each sweep from its command to its committed rows, through Ray: by one actor, and by two on half a card each."""

import importlib
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.session import connect
from gpu import attack_speed, generation_speed, training_speed
from gpu.bench import Bench
from gpu.photographs import write_photographs
from gpu.results import Check, Failure, Number, Rate, Result
from gpu.utilization import Utilization

# What may differ between two runs of the same cells.
OF_THE_RUN = ("attempt", "image_file", "perturbation_file", "clean_file", "seconds")
STEPS = 32  # of generation


@dataclass(frozen=True, kw_only=True)
class Command:
    """A sweep's script and its arguments; `work` is how much of `unit` a row of results/ stands for."""

    script: str
    arguments: tuple[str, ...]
    unit: str
    work: float
    beside: str | None = None  # the rate of `speed` with which it is compared


def run(bench: Bench) -> list[Iterator[Result]]:
    """Run each sweep twice, and compare rows, seconds and the card's busy share."""
    return [_all_sweeps(bench)]


def _all_sweeps(bench: Bench) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="on-gpu-") as name, connect("local", num_cpus=2):
        folder = Path(name)
        write_photographs(folder / "photographs", bench.size(2048, 8))
        for command in _commands(bench, folder):
            try:
                yield from _compared(bench, folder, command)
            except (Exception, SystemExit):
                yield Failure(name=f"{command.script}.py", error=traceback.format_exc())


def _commands(bench: Bench, folder: Path) -> list[Command]:
    data = () if bench.data is None else ("--data-root", str(bench.data))
    weights = () if bench.weights is None else ("--weights", str(bench.weights))
    quick = bench.quick
    return [
        Command(
            script="attack_all",
            arguments=(
                *(
                    "--model",
                    attack_speed.QUICK_MODEL if quick else attack_speed.MODEL,
                    "--weights",
                    "untrained",
                ),
                *("--label-order", "index"),
                *("--dataset", f"imagefolder:{folder / 'photographs'}"),
                *(("--image-size", "32") if quick else ()),
            ),
            unit="images/s",
            work=1 / 12,  # twelve rows an image
            beside=f"{attack_speed.NAME}, float32, batch of 256",
        ),
        Command(
            script="generate_all",
            arguments=(
                *("--model", "efficientnet_lite0", *weights, "--judges", "none", "--num-steps"),
                *(
                    ("2", "--classes", "0-7", "--image-size", "32")
                    if quick
                    else (str(STEPS), "--classes", "all")
                ),
            ),
            unit="image-steps/s",
            work=STEPS,
            beside=f"{generation_speed.NAME}, batch of 256",
        ),
        Command(
            script="attribute_all",
            arguments=(
                *(*data, "--methods", "gradient_x_input,integrated_gradients,occlusion"),
                *(("--images", "0-31", "--num-steps", "4") if quick else ("--images", "all")),
            ),
            unit="maps/s",
            work=1,
        ),
        Command(
            script="modify_all",
            arguments=(*data, "--targets", "3,7", "--images", "0-15" if quick else "0-1999"),
            unit="images/s",
            work=1,
        ),
        Command(
            script="attribute_training",
            arguments=(
                *(*data, "--split", "test", "--methods", "gradient_x_input"),
                *(("--batch-size", "2000", "--segment", "2") if quick else ("--segment", "50")),
            ),
            unit="updates/s",
            work=1 / 16,  # a row for each image of the panel
            beside=training_speed.NAME,
        ),
    ]


def _compared(bench: Bench, folder: Path, command: Command) -> Iterator[Result]:
    tables = []
    for actors in (1, 2):
        output = folder / f"{command.script}-{actors}"
        yield from _completed(bench, command, actors, output)
        tables.append(_rows(output))
    one, two = tables
    unlike = [name for name in one.column_names if not one[name].equals(two[name])]
    note = f"{len(one)} rows" if not unlike else f"other {', '.join(unlike)}"
    yield Check(name=f"{command.script}.py: one actor and two write the same", passed=not unlike, note=note)


def _completed(bench: Bench, command: Command, actors: int, output: Path) -> Iterator[Result]:
    gpus = str(1 / actors) if bench.is_cuda else "0"
    arguments = [*command.arguments, "--output", str(output), "--num-workers", str(actors)]
    if not bench.is_cuda:
        arguments += ["--threads-per-worker", "1"]  # on a processor the last bits depend on it
    if bench.quick and command.script != "attribute_training":
        arguments += ["--shard-size", "4"]
    name = f"{command.script}.py, {actors} {'actors on half a card each' if actors > 1 else 'actor'}"
    begin = time.time()
    with Utilization(is_cuda=bench.is_cuda) as utilization:
        status = importlib.import_module(f"sweeps.{command.script}").main(
            [*arguments, "--gpus-per-worker", gpus]
        )
    yield Check(name=f"{name}: ends with every shard committed", passed=status == 0, note=f"status {status}")
    rate, start, end = _steady(output, actors)
    if rate is not None:
        yield Rate(name=name, unit=command.unit, ours=rate * command.work, beside=command.beside)
        busy = utilization.mean(start, end)
        if busy is not None:
            yield Number(name=f"{name}: busy share of the card", value=busy)
    yield Number(name=f"{name}: start to end", value=time.time() - begin, unit="s")


def _steady(output: Path, actors: int) -> tuple[float | None, float, float]:
    """Return rows a second from the first commits, one an actor, to the last; and when these were."""
    files = sorted((output / "results").glob("*.parquet"), key=lambda file: file.stat().st_mtime)
    if len(files) <= actors:
        return None, 0, 0
    start, end = (file.stat().st_mtime for file in (files[actors - 1], files[-1]))
    num_rows = sum(pq.read_metadata(file).num_rows for file in files[actors:])
    return num_rows / max(end - start, 1e-9), start, end


def _rows(output: Path) -> pa.Table:
    """Return all rows in the order of their shards, without what belongs to the run."""
    files: Sequence[Path] = sorted((output / "results").glob("*.parquet"))
    table = pa.concat_tables([pq.read_table(file) for file in files])
    return table.drop_columns([name for name in OF_THE_RUN if name in table.column_names])
