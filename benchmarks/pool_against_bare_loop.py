"""What do Ray, storage and judging cost? The whole pool against a bare loop on the same cores.

The pool: actors of one thread each that generate, judge, encode PNG and Parquet, and commit into a run
directory. The bare loop: as many plain processes of one thread each that call `generate` for the same
recipe and shards, from a queue, and neither judge nor store. Rounds alternate, and each starts its side
anew, so that neither idles beside the other. Steady seconds run from when all workers have warmed up (a
barrier) to the end of the last shard.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from reporting import Finding, Row, command_line, publish

from attrib_core.classifiers import load_classifier, read_checkpoint, with_folded_batch_norms
from attrib_core.generation import Cell, Recipe, find_recipe, generate_batch
from attrib_core.prepared import prepare
from cluster.pool import Committed, Pool, PoolOptions
from cluster.session import connect
from sweeps.generate.job import GenerateJob, GenerateSettings, Weights
from sweeps.generate_all import KINDS
from sweeps.plan import Plan, Shard
from sweeps.progress import Progress
from sweeps.store import RunDirectory

MODEL = "efficientnet_lite0"
WARM_UP = "warm_up"


@dataclass(frozen=True, kw_only=True)
class Work:
    """The same for both sides."""

    recipe: str
    num_steps: int | None
    image_size: int
    batch_size: int
    shard_size: int
    num_shards: int
    judges: tuple[str, ...]
    num_workers: int

    def recipes(self) -> dict[str, Recipe]:
        """Return the recipe, and a few steps of it to warm up with."""
        recipe = find_recipe(self.recipe)
        warm_up = recipe.with_num_steps(2 * len(recipe.stages))
        return {
            self.recipe: recipe.with_num_steps(self.num_steps) if self.num_steps else recipe,
            WARM_UP: warm_up,
        }

    def shards(self, recipe: str, num_shards: int) -> Iterator[Shard]:
        """Return shards of consecutive classes."""
        classes = tuple(range(self.shard_size * num_shards))
        axes = {"recipe": (recipe,), "seed": (0,), "class_index": classes}
        return Plan(fingerprint="benchmark", kinds=KINDS).grow(axes, self.shard_size).shards()

    @property
    def num_images(self) -> int:
        """Images per round."""
        return self.shard_size * self.num_shards


@dataclass(frozen=True)
class Round:
    """What a side took: `start_up` until every worker was warm, `steady` from there to the last end."""

    start_up: float
    steady: float
    commit: float = 0.0  # all shards together, in threads beside the computation

    @property
    def whole(self) -> float:
        """Seconds, start-up included."""
        return self.start_up + self.steady


def pool_round(work: Work, weights: Weights) -> Round:
    """Run the pool, from the start of Ray to the last commit."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        settings = GenerateSettings(
            output=folder,
            recipes=work.recipes(),
            image_size=work.image_size,
            input_scaling="model",
            num_steps=None,
            sweep_seed=0,
            frames=frozenset(),
            frame_every=1,
            batch_size=work.batch_size,
            precision="float32",
        )
        workers = PoolOptions(num_workers=work.num_workers, threads_per_worker=1)
        with (
            connect("local", num_cpus=work.num_workers),
            Pool(partial(GenerateJob, settings), weights, workers) as pool,
        ):
            warm_up(pool, work)
            start = time.perf_counter()
            commit = run_shards(pool, work, RunDirectory(folder))
            end = time.perf_counter()
        return Round(start - begin, end - start, commit)


def warm_up(pool: Pool, work: Work) -> None:
    """Run shards of a few steps until every worker has finished one."""
    seen: set[str] = set()
    while len(seen) < work.num_workers:
        # Two per worker: the pool may give two to the first ready worker before another has one.
        shards = work.shards(WARM_UP, 2 * work.num_workers)
        seen |= {event.worker for event in pool.run(shards) if isinstance(event, Committed)}


def run_shards(pool: Pool, work: Work, run: RunDirectory) -> float:
    """Run all shards with the runner's bookkeeping. Return the seconds that the actors spent on committing."""
    seconds = 0.0
    with Progress("pool", work.num_shards, run.write_progress) as progress:
        for event in pool.run(work.shards(work.recipe, work.num_shards)):
            assert isinstance(event, Committed), event
            run.clear_failure(event.shard.id)
            progress.commit(event.worker, event.summary["cells"])
            seconds += event.summary["commit_seconds"]
    return seconds


def bare_round(work: Work) -> Round:
    """Run plain processes, from their start to the last image."""
    context = multiprocessing.get_context("spawn")
    barrier, shards = context.Barrier(work.num_workers + 1), context.SimpleQueue()
    for shard in [*work.shards(work.recipe, work.num_shards), *[None] * work.num_workers]:
        shards.put(shard)
    begin = time.perf_counter()
    processes = [
        context.Process(target=bare_loop, args=(work, shards, barrier)) for _ in range(work.num_workers)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    end = time.perf_counter()
    for process in processes:
        process.join()
    return Round(start - begin, end - start)


def bare_loop(work: Work, shards: Any, barrier: Any) -> None:
    """Make the images of the shards in the queue, in a process of its own, and throw them away."""
    torch.set_num_threads(1)
    classifier = with_folded_batch_norms(load_classifier(MODEL))  # as the sweep runs it
    model = prepare(classifier, batch_size=work.batch_size)
    recipes = work.recipes()

    def make(shard: Shard) -> None:
        cells = [Cell(class_index=int(index), seed=int(seed)) for seed, index in shard.cells]
        for first in range(0, len(cells), work.batch_size):
            generate_batch(
                model,
                recipes[shard.axes["recipe"]],
                cells[first : first + work.batch_size],
                sweep_seed=0,
                image_size=work.image_size,
            )

    make(next(work.shards(WARM_UP, 1)))
    barrier.wait()
    while (shard := shards.get()) is not None:
        make(shard)
    barrier.wait()


def report(work: Work, pool: Sequence[Round], bare: Sequence[Round]) -> tuple[list[Row], list[Finding]]:
    """Report a row for each round and side, and ratios of images per minute over all rounds."""
    rows = [
        {
            "side": name,
            "round": number,
            "images": work.num_images,
            "start-up s": each.start_up,
            "steady s": each.steady,
            "images/min": 60 * work.num_images / each.steady,
            "commit s": each.commit,
        }
        for number in range(len(pool))
        for name, each in (("pool", pool[number]), ("bare loop", bare[number]))
    ]
    steady = sum(each.steady for each in bare) / sum(each.steady for each in pool)
    whole = sum(each.whole for each in bare) / sum(each.whole for each in pool)
    worst = min(theirs.steady / ours.steady for ours, theirs in zip(pool, bare, strict=True))
    return rows, [
        Finding(name="pool / bare loop, images a minute", value=steady, target=0.9),
        Finding(name="  in the worst round", value=worst),
        Finding(name="  with the start-up of both in each round", value=whole),
    ]


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--recipe", default="default")
    parser.add_argument(
        "--judges", default="efficientnet_lite1", help="of the pool; the bare loop judges nothing"
    )
    parser.add_argument("--num-steps", type=int)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--shard-size", type=int, default=16, help="images a shard")
    parser.add_argument("--shards", type=int, default=6, help="a round")
    parser.add_argument("--rounds", type=int, default=3, help="of each side")
    parser.add_argument("--num-workers", type=int, default=2)
    options = parser.parse_args()
    if options.quick:
        options.num_steps, options.image_size, options.rounds, options.shards = 8, 64, 1, 4
        options.judges = "none"
    return options


def main() -> None:
    options = parse()
    os.environ["OMP_NUM_THREADS"] = "1"  # for the plain processes, as the pool sets it in its actors
    judges = tuple(name for name in options.judges.split(",") if name != "none")
    work = Work(
        recipe=options.recipe,
        num_steps=options.num_steps,
        image_size=options.image_size,
        batch_size=options.batch_size,
        shard_size=options.shard_size,
        num_shards=options.shards,
        judges=judges,
        num_workers=options.num_workers,
    )
    weights = Weights(model=read_checkpoint(MODEL), judges={name: read_checkpoint(name) for name in judges})
    sides = {"pool": partial(pool_round, work, weights), "bare": partial(bare_round, work)}
    rounds: dict[str, list[Round]] = {"pool": [], "bare": []}
    for number in range(options.rounds):
        for name in ("pool", "bare") if number % 2 == 0 else ("bare", "pool"):
            rounds[name].append(sides[name]())
            print(f"{name}: {rounds[name][-1]}", flush=True)
    publish(options, *report(work, rounds["pool"], rounds["bare"]))


if __name__ == "__main__":
    main()
