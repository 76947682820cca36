"""What does the engine cost over calling an attack of foolbox in a bare loop?

PGD of 40 steps in the max norm at one ε on Fashion-MNIST: ours is the job of `attack_all.py --methods
foolbox:LinfPGD:steps=40`, computed and committed, in this process; the bare loop calls foolbox for the same
batches and keeps what it says of its success. They take turns, shard by shard. Start-up is in neither.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from reporting import Finding, Row, command_line, publish
from torch import Tensor

from attrib_core.classifiers import load_classifier
from sweeps.attack.job import AttackJob
from sweeps.attack_all import AttackOptions, attack_sweep
from sweeps.cli import parse_options
from sweeps.plan import Shard

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about functions that SciPy 2 will remove
    import foolbox

EPSILON = 8 / 255


def engine(options: argparse.Namespace, folder: str) -> tuple[AttackJob, str]:
    """Return the sweep's job, and the method as its rows name it."""
    method = f"foolbox:LinfPGD:steps={options.steps}"
    given = ["--output", folder, "--methods", method, "--batch-size", str(options.batch_size)]
    sweep = attack_sweep(parse_options(AttackOptions, [*given, "--save-images", "none"]))
    return sweep.factory(sweep.shared), method


def engine_shard(job: AttackJob, method: str, number: int, images: range) -> None:
    """Attack a shard, inspect its images, and commit its rows."""
    axes = {"method": method, "checkpoint": "trained", "target": "untargeted", "epsilon": (EPSILON,)}
    job.commit(job.compute(Shard(f"shard-{number}", axes, tuple((index,) for index in images))), 1)


def bare_shard(
    attack: Any, model: Any, images: Tensor, labels: Tensor, batch_size: int, chosen: range
) -> Tensor:
    """Return which images of a shard foolbox misleads."""
    parts = []
    for start in range(chosen.start, chosen.stop, batch_size):
        rows = slice(start, min(start + batch_size, chosen.stop))
        parts.append(attack(model, images[rows], labels[rows], epsilons=EPSILON)[2])
    return torch.cat(parts)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(options: argparse.Namespace) -> list[Row]:
    """Return the seconds of each shard on both sides."""
    model = foolbox.PyTorchModel(load_classifier("fashion_deep"), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(steps=options.steps)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        job, method = engine(options, f"{folder}/run")
        shards = [
            range(n * options.shard_size, (n + 1) * options.shard_size) for n in range(options.shards + 1)
        ]
        every = range(shards[-1].stop)
        images = job.inputs.images(every, torch.device("cpu")).contiguous()
        labels = torch.from_numpy(job.inputs.labels[list(every)])
        for number, chosen in enumerate(shards):
            sides = {
                "engine": partial(engine_shard, job, method, number, chosen),
                "bare loop": partial(bare_shard, attack, model, images, labels, options.batch_size, chosen),
            }
            order = sides if number % 2 else dict(reversed(sides.items()))
            seconds = {name: timed(work) for name, work in order.items()}
            if number:  # the first one warms up
                rows.append({"shard": number} | {f"{name} s": seconds[name] for name in sides})
    return rows


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--shards", type=int, default=6)
    parser.add_argument("--shard-size", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.quick:
        options.steps, options.shards, options.shard_size, options.batch_size = 4, 2, 16, 8
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    rows = measure(options)
    ratios = sorted(row["engine s"] / row["bare loop s"] for row in rows)
    total = sum(row["engine s"] for row in rows) / sum(row["bare loop s"] for row in rows)
    publish(
        options,
        rows,
        [
            Finding(name="engine / bare loop, seconds", value=total, target=1.1, at_most=True),
            Finding(name="  in the median shard", value=ratios[len(ratios) // 2]),
        ],
    )


if __name__ == "__main__":
    main()
