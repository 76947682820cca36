"""How much faster is AutoAttack through two actors than in a bare loop on one core?

torchattacks' `AutoAttack` in the max norm at one ε on the first images of Fashion-MNIST. Both sides use one
thread a process and the same batches. The bare loop runs in a process of its own, before Ray starts. Both have
attacked a few images before their time is taken, so that start-up is in neither.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from typing import Any

import torch
from reporting import Finding, Row, command_line, publish

from attrib_core.classifiers import load_classifier
from attrib_core.datasets import View, load_dataset
from cluster.pool import Committed, Pool, PoolOptions
from cluster.session import connect
from sweeps.attack_all import AttackOptions, attack_sweep
from sweeps.cli import parse_options
from sweeps.plan import Plan, fingerprint
from sweeps.sweep import Sweep


def two_actors(options: argparse.Namespace, folder: str) -> Row:
    """Run the sweep's shards on the pool; small shards before them warm up every actor."""
    with connect("local", num_cpus=options.num_workers):
        workers = PoolOptions(num_workers=options.num_workers, cpus_per_worker=1, threads_per_worker=1)
        warm, full = _sweep(options, f"{folder}/warm", options.images), _sweep(options, f"{folder}/run", 0)
        with Pool(full.factory, full.shared, workers) as pool:
            _run(pool, warm, 1, 2 * options.num_workers)
            start = time.perf_counter()
            _run(pool, full, options.batch_size, options.images)
            return {"side": f"{options.num_workers} actors", "seconds": time.perf_counter() - start}


def _sweep(options: argparse.Namespace, folder: str, first: int) -> Sweep:
    count = 2 * options.num_workers if first else options.images
    given = ["--output", folder, "--methods", options.method, "--epsilons", str(options.epsilon)]
    images = ["--images", f"{first}-{first + count - 1}", "--batch-size", str(options.batch_size)]
    return attack_sweep(parse_options(AttackOptions, [*given, *images, "--save-images", "none"]))


def _run(pool: Pool, sweep: Sweep, shard_size: int, num_images: int) -> None:
    plan = Plan(fingerprint=fingerprint(sweep.settings), kinds=sweep.kinds)
    for axes in sweep.requested:
        plan = plan.grow(axes, shard_size)
    done = [event for event in pool.run(plan.shards()) if isinstance(event, Committed)]
    assert sum(event.summary["cells"] for event in done) >= num_images, done


def bare_loop(options: argparse.Namespace, answers: Any) -> None:
    """Call torchattacks batch by batch on one core, and send the seconds."""
    import torchattacks

    torch.set_num_threads(1)
    classifier = load_classifier("fashion_deep")
    dataset = load_dataset("fashion_mnist")
    images = torch.from_numpy(dataset.images(range(options.images), View.of(classifier))).float() / 255
    labels = torch.from_numpy(dataset.labels[: options.images])
    attack = torchattacks.AutoAttack(classifier, eps=options.epsilon, seed=0)
    attack(images[:2], labels[:2])
    start = time.perf_counter()
    for first in range(0, options.images, options.batch_size):
        part = slice(first, first + options.batch_size)
        attack(images[part], labels[part])
    answers.put(time.perf_counter() - start)


def bare(options: argparse.Namespace) -> Row:
    """Run the bare loop in a process of its own, as its user would."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=bare_loop, args=(options, answers))
    process.start()
    seconds = answers.get()
    process.join()
    return {"side": "bare loop", "seconds": seconds}


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--epsilon", type=float, default=8 / 255)
    parser.add_argument("--method", default="torchattacks:AutoAttack")
    parser.add_argument("--num-workers", type=int, default=2)
    options = parser.parse_args()
    if options.quick:
        options.images, options.batch_size = 8, 4
    return options


def main() -> None:
    options = parse()
    os.environ["OMP_NUM_THREADS"] = "1"  # for the bare loop, as the pool sets it in its actors
    with tempfile.TemporaryDirectory() as folder:
        rows = [bare(options), two_actors(options, folder)]
    ratio = rows[0]["seconds"] / rows[1]["seconds"]
    publish(options, rows, [Finding(name="two actors / bare loop", value=ratio, unit="x", target=1.7)])


if __name__ == "__main__":
    main()
