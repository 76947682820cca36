"""Which micro-batch and which precision are fast? Image-steps per second of the ascent on this machine.

`plain` has no transforms, so it times the network's forward and backward pass to the input; other recipes
add their own work, and `--recipe default` says what suits that one. All combinations take turns, several
times.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from reporting import Finding, Row, command_line, publish

from attrib_core.classifiers import load_classifier
from attrib_core.generation import Cell, find_recipe, generate_batch
from attrib_core.prepared import prepare

MODEL = "efficientnet_lite0"


@dataclass(eq=False)
class Setting:
    """A combination, and its rate in each turn."""

    image_size: int
    batch_size: int
    precision: str
    run: Callable[[int], object]  # runs so many steps
    rates: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Image-steps per second in the median turn."""
        return statistics.median(self.rates)

    def take_turn(self, num_steps: int) -> None:
        """Run some steps and note the rate."""
        start = time.perf_counter()
        self.run(num_steps)
        self.rates.append(self.batch_size * num_steps / (time.perf_counter() - start))


def setting(recipe_name: str, image_size: int, batch_size: int, precision: str) -> Setting:
    """Return one combination, with a network of its own."""
    model = prepare(load_classifier(MODEL), precision=precision, batch_size=batch_size)
    recipe = find_recipe(recipe_name)
    cells = [Cell(class_index=index, seed=0) for index in range(batch_size)]

    def run(num_steps: int) -> object:
        return generate_batch(
            model,
            recipe.with_num_steps(num_steps),
            cells,
            sweep_seed=0,
            image_size=image_size,
        )

    return Setting(image_size, batch_size, precision, run)


def rows(settings: Sequence[Setting]) -> list[Row]:
    """Return a row for each combination; `of float32` compares with the same size and batch."""
    by_key = {(each.image_size, each.batch_size, each.precision): each for each in settings}
    return [
        {
            "image size": each.image_size,
            "batch": each.batch_size,
            "precision": each.precision,
            "image-steps/s": each.rate,
            "slowest": min(each.rates),
            "fastest": max(each.rates),
            "of float32": each.rate / by_key[each.image_size, each.batch_size, "float32"].rate,
        }
        for each in settings
    ]


def findings(settings: Sequence[Setting], sizes: Sequence[int]) -> list[Finding]:
    found: list[Finding] = []
    for size in sizes:
        best = {
            precision: max(
                (each for each in settings if (each.image_size, each.precision) == (size, precision)),
                key=lambda each: each.rate,
            )
            for precision in ("float32", "bfloat16")
        }
        for precision, each in best.items():
            name = f"{size} pixels, {precision}: best batch"
            found.append(Finding(name=name, value=each.batch_size, unit="images"))
        ratio = best["bfloat16"].rate / best["float32"].rate
        found.append(Finding(name=f"{size} pixels: bfloat16 / float32, each at its best", value=ratio))
    return found


def integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--recipe", default="plain")
    parser.add_argument("--image-sizes", type=integers, default=[224, 112])
    parser.add_argument("--batch-sizes", type=integers, default=[4, 8, 12])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=6, help="a turn")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    if options.quick:
        options.steps, options.turns = 2, 1
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    combinations = product(options.image_sizes, options.batch_sizes, ("float32", "bfloat16"))
    settings = [setting(options.recipe, *combination) for combination in combinations]
    for each in settings:
        each.run(2)
    for _ in range(options.turns):
        for each in settings:
            each.take_turn(options.steps)
    note = f"recipe {options.recipe}, {options.threads} threads"
    publish(options, rows(settings), findings(settings, options.image_sizes), note)


if __name__ == "__main__":
    main()
