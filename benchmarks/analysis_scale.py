"""How much memory do the figures of an attack need? Ten million rows, each figure's command in its own process.

The rows are drawn, not computed, but have the sweep's schema and are committed by its store, in shards of 1,000
images as a sweep of small images has them: 4 checkpoints, 4 methods at 12 ε, 2 minimum methods. Memory is the
largest resident size that the operating system saw of the command. Linux only: elsewhere it counts otherwise.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from reporting import Finding, Row, command_line, publish

from sweeps.schemas import SCHEMA_VERSION, attack_results
from sweeps.store import RunDirectory, columns_table

ROOT = Path(__file__).parents[1]
GIBIBYTE = 1 << 30

CHECKPOINTS = ("untrained", "epoch-1", "epoch-2", "trained")
METHODS = ("fgsm", "max_norm", "pgd", "random_sign")
MINIMUM_METHODS = ("minimum_fgsm", "minimum_max_norm")
EPSILONS = np.array([0, 0.25, 0.5, 1, 2, 2.55, 4, 8, 16, 25.5, 32, 64]) / 255
ROWS_PER_IMAGE = len(CHECKPOINTS) * (len(METHODS) * len(EPSILONS) + len(MINIMUM_METHODS))
IMAGES_PER_SHARD = 1000

# The arguments after the run on the command line of each module.
COMMANDS = {
    "success_rates": ("--output", "rates.csv"),
    "attacks.curves": ("--output", "figures"),
    "attacks.class_success": ("--output", "figures"),
    "attacks.confusion": ("--output", "figures"),
    "attacks.minimum_epsilon": ("--output", "figures"),
}


@dataclass(frozen=True)
class Measured:
    """Seconds and the peak of resident bytes of a command, Python's start and imports included."""

    seconds: float
    peak_bytes: int


def write_run(folder: Path, num_images: int, num_classes: int) -> int:
    """Commit a run of attacks on so many images and return its number of rows."""
    run, num_rows = RunDirectory(folder), 0
    run.update_sweep(lambda existing: {"sweep": "attack", "seed": 0})
    for number, (checkpoint, method) in enumerate(product(CHECKPOINTS, METHODS + MINIMUM_METHODS)):
        for start in range(0, num_images, IMAGES_PER_SHARD):
            images = np.arange(start, min(start + IMAGES_PER_SHARD, num_images))
            shard_id = f"{checkpoint}-{method}-{start:07d}"
            columns = drawn_columns(images, method, num_classes, np.random.default_rng([number, start]))
            columns |= {"checkpoint": checkpoint, "method": method, "shard_id": shard_id}
            count = len(columns["image_index"])
            run.commit(shard_id, columns_table(columns, attack_results(), count), None)
            num_rows += count
    return num_rows


def drawn_columns(
    images: np.ndarray, method: str, num_classes: int, generator: np.random.Generator
) -> dict[str, Any]:
    """Return the columns of a shard. The larger ε, the more predictions are another class."""
    minimum = method in MINIMUM_METHODS
    epsilons = np.array([1.0]) if minimum else EPSILONS
    index = np.repeat(images, len(epsilons))
    count = len(index)
    label = index % num_classes
    # What is drawn of an image is the same at every ε.
    right = np.repeat(generator.random(len(images)) < 0.9, len(epsilons))
    other = (label + np.repeat(generator.integers(1, num_classes, len(images)), len(epsilons))) % num_classes
    clean = np.where(right, label, other)
    epsilon = np.tile(epsilons, len(images))
    found = generator.random(count) < 0.95
    flipped = found if minimum else generator.random(count) < epsilon / (epsilon + 4 / 255)
    prediction = np.where(flipped, other, clean)
    rounded = np.where(generator.random(count) < 0.99, prediction, clean)
    drawn = generator.gamma(2, 4 / 255, count).clip(0, 1)
    return {
        **constants(),
        "image_index": index.astype(np.int32),
        "epsilon": pa.array(drawn, mask=~found) if minimum else epsilon,
        "key": [f"test/{number}" for number in index],
        "label": label.astype(np.int32),
        "label_name": [f"class {number}" for number in label],
        "clean_prediction": clean.astype(np.int32),
        "adversarial_prediction": prediction.astype(np.int32),
        "prediction_u8": rounded.astype(np.int32),
        **{name: generator.normal(size=count).astype(np.float32) for name in MEASURED},
        "zero_gradient": generator.random(count) < 0.01,
        "gradient_fallback": np.zeros(count, dtype=bool),
        "l0": np.full(count, 784, dtype=np.int32),
        "num_forwards": np.ones(count),
        "num_backwards": np.ones(count),
        "seeks_minimum": np.full(count, minimum),
    }


MEASURED = (
    "clean_confidence",
    "clean_margin",
    "adversarial_confidence",
    "adversarial_margin",
    "loss",
    "linf",
    "l2",
    "l1",
    "linf_u8",
)


def constants() -> dict[str, Any]:
    """Return the columns that have one value, or none, in all rows."""
    names = ("image", "perturbation", "clean")
    unstored = {f"{name}_{what}": None for name in names for what in ("file", "key")}
    return {
        **unstored,
        "sweep": "attack",
        "model": "drawn",
        "model_digest": "0" * 64,
        "attempt": 1,
        "schema_version": SCHEMA_VERSION,
        "target": None,
        "dataset": "drawn",
        "split": "test",
        "rechecked": False,
        "batch_size": 500,
    }


def measure(command: list[str], folder: Path) -> Measured:
    """Run a command to its end in this folder. Raise AssertionError with its message if it fails."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        message = process.stderr.read() if process.stderr else ""
        # The peak of this child alone; getrusage would give the largest of all children that ended.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command}: {message}"
    return Measured(time.perf_counter() - start, usage.ru_maxrss * 1024)


def measured_commands(run: Path, folder: Path) -> Iterator[tuple[str, Measured]]:
    yield "(imports alone)", measure([sys.executable, "-c", "import analysis.attacks.confusion"], folder)
    for name, arguments in COMMANDS.items():
        command = [sys.executable, "-m", f"analysis.{name}", str(run), *arguments]
        yield name, measure(command, folder)


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=50_000, help=f"each has {ROWS_PER_IMAGE} rows")
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    if options.quick:
        options.images = 500
    return options


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        num_rows = write_run(run, options.images, options.classes)
        num_bytes = sum(path.stat().st_size for path in (run / "results").iterdir())
        print(
            f"{num_rows:,} rows of {options.classes} classes, {num_bytes / 1e6:,.0f} MB of Parquet",
            flush=True,
        )
        rows: list[Row] = []
        for name, measured in measured_commands(run, Path(folder)):
            peak = measured.peak_bytes / GIBIBYTE
            rows.append({"command": name, "rows": num_rows, "s": measured.seconds, "peak GiB": peak})
    largest = max(float(row["peak GiB"]) for row in rows)
    name = f"largest peak over {num_rows:,} rows"
    # Four gigabytes, in the unit of the table.
    finding = Finding(name=name, value=largest, unit="GiB", target=4e9 / GIBIBYTE, at_most=True)
    publish(options, rows, [finding])


if __name__ == "__main__":
    main()
