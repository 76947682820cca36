"""How many images per minute does another network classify correctly? Recipes against torch-lucent.

lucent at its defaults; the same classifier, classes and threads for all; a judge that took no part in
making the images. All take turns at a few classes at a time, since the pace of a shared machine drifts.
Each side works at the batch size that is fastest for it, measured first. Seconds are those of making
images: judging is not timed.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from lucent_images import lucent_images
from reporting import Finding, Row, command_line, publish
from torch import Tensor

from analysis.intervals import wilson_interval
from attrib_core.classifiers import load_classifier, with_folded_batch_norms
from attrib_core.execution import choose_execution, fastest_batch_size
from attrib_core.generation import Cell, evaluate, find_recipe, generate_batch, to_8_bits
from attrib_core.prepared import prepare
from sweeps.ranges import format_integers, parse_integers

BATCH_SIZES = {"cpu": (4, 8, 12), "cuda": (8, 16, 32, 64, 128, 256)}

MODEL = "efficientnet_lite0"
LUCENT = "lucent"
CLASSES = format_integers(range(3, 995, 31))
TARGETS = {"default": 8.0, "fast": 16.0}
WARM_UP_STEPS = 4


@dataclass(eq=False)
class Side:
    """One way to make images `[B, 3, H, W]` of classes, and what it has come to."""

    name: str
    make: Callable[[Sequence[int]], Tensor]
    batch_size: int
    seconds: list[float] = field(default_factory=list)  # per chunk
    images: list[Tensor] = field(default_factory=list)  # uint8, in the order of the classes
    hits: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  # per class

    def work(self, classes: Sequence[int]) -> None:
        """Make a chunk's images, batch by batch, and note the seconds."""
        start = time.perf_counter()
        for first in range(0, len(classes), self.batch_size):
            self.images.append(to_8_bits(self.make(classes[first : first + self.batch_size])))
        self.seconds.append(time.perf_counter() - start)

    def right_per_minute(self) -> float:
        """Return the images per minute that the judge classifies correctly."""
        return 60 * float(self.hits.sum()) / sum(self.seconds)


def our_side(name: str, options: argparse.Namespace) -> Side:
    """Return the side that runs a recipe by `generate`, as an actor of the sweep calls it."""
    classifier = with_folded_batch_norms(load_classifier(MODEL))  # as the sweep runs it
    model = prepare(classifier, precision=options.precision, batch_size=options.batch_size)
    recipe = find_recipe(name)

    def make(classes: Sequence[int], num_steps: int = options.num_steps or recipe.num_steps) -> Tensor:
        return generate_batch(
            model,
            recipe.with_num_steps(num_steps) if num_steps != recipe.num_steps else recipe,
            [Cell(class_index=index, seed=0) for index in classes],
            sweep_seed=0,
            image_size=classifier.image_size,
        ).images

    make(range(model.batch_size), WARM_UP_STEPS * len(recipe.stages))
    return Side(name, make, model.batch_size)


def lucent_side(options: argparse.Namespace) -> Side:
    """Return the side of lucent's defaults, one image at a time as in its documentation, or in batches."""
    # Weights in channels_last as ours are. lucent's users would not do that; it makes lucent faster.
    execution = choose_execution()
    classifier = execution.prepare(load_classifier(MODEL))

    def make(classes: Sequence[int], num_steps: int = options.num_steps or 128) -> Tensor:
        return lucent_images(classifier, classes, num_steps=num_steps)

    def warm_up(batch_size: int) -> Tensor:
        return make(range(batch_size), WARM_UP_STEPS)

    sizes = [1, *(size for size in BATCH_SIZES[execution.device.type] if size <= options.chunk)]
    return Side(LUCENT, make, options.lucent_batch_size or fastest_batch_size(warm_up, sizes))


def race(sides: Sequence[Side], classes: Sequence[int], chunk: int) -> None:
    """Have all sides make the images of a few classes, then of the next few. Another side begins each time."""
    for turn, first in enumerate(range(0, len(classes), chunk)):
        for place in range(len(sides)):
            side = sides[(turn + place) % len(sides)]
            side.work(classes[first : first + chunk])
            print(f"{side.name}: classes {first}-{first + chunk - 1} in {side.seconds[-1]:.1f} s", flush=True)


def judge(sides: Sequence[Side], classes: Sequence[int], name: str) -> None:
    """Return which images of each side the judge classifies correctly."""
    model, judges = prepare(load_classifier(MODEL)), {name: prepare(load_classifier(name))}
    for side in sides:
        verdicts = []
        images_by_batch = torch.cat(side.images).split(8)
        for images, targets in zip(images_by_batch, torch.tensor(classes).split(8), strict=True):
            verdict = evaluate(model, judges, images, targets).judges[name]
            verdicts.append(verdict.top1.cpu() == targets)
        side.hits = torch.cat(verdicts).numpy()


def rows(sides: Sequence[Side]) -> list[Row]:
    """Return a row for each side; the interval of the accuracy is Wilson's, 95 %."""
    table: list[Row] = []
    for side in sides:
        low, high = wilson_interval(side.hits.sum(), len(side.hits))
        table.append(
            {
                "side": side.name,
                "batch size": side.batch_size,
                "images": len(side.hits),
                "right": int(side.hits.sum()),
                "accuracy": float(side.hits.mean()),
                "low": float(low),
                "high": float(high),
                "seconds": sum(side.seconds),
                "right/min": side.right_per_minute(),
            }
        )
    return table


def findings(sides: Sequence[Side], peer: Side) -> list[Finding]:
    """Return ratios to the peer, with bootstrap bounds over classes, and the share that is due to speed."""
    found: list[Finding] = []
    for side in sides:
        low, high = bootstrap(side, peer)
        ratio = side.right_per_minute() / peer.right_per_minute() if peer.hits.any() else float("inf")
        name = f"{side.name} / {peer.name}"
        found += [
            Finding(name=f"{name}, right images a minute", value=ratio, target=TARGETS.get(side.name)),
            Finding(name="  lower bound, 95 % over classes", value=low),
            Finding(name="  upper bound, 95 % over classes", value=high),
            Finding(name="  images a minute, right or wrong", value=sum(peer.seconds) / sum(side.seconds)),
            Finding(name="  the same in the median turn", value=median_speed(side, peer)),
        ]
    return found


def median_speed(side: Side, peer: Side) -> float:
    """Return the side's relative speed in the median turn, which one stall of the machine hardly changes."""
    return statistics.median(theirs / ours for ours, theirs in zip(side.seconds, peer.seconds, strict=True))


def bootstrap(side: Side, peer: Side, num_draws: int = 2000) -> tuple[float, float]:
    """Return 95 % bounds of the ratio over draws of the classes, the same for both sides."""
    draws = np.random.default_rng(0).integers(0, len(side.hits), (num_draws, len(side.hits)))
    ours, theirs = side.hits[draws].sum(1), peer.hits[draws].sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = ours / theirs * (sum(peer.seconds) / sum(side.seconds))
    low, high = np.nanquantile(ratios, (0.025, 0.975), method="nearest")
    return float(low), float(high)


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--judge", default="efficientnet_lite2", help="took no part in making or choosing")
    parser.add_argument("--recipes", default="default,fast")
    parser.add_argument("--classes", default=CLASSES, help="by default 32 spread over the label space")
    parser.add_argument("--num-steps", type=int, help="of all sides; by default each side's own")
    parser.add_argument("--precision", default="float32", help="of our side")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of every side")
    parser.add_argument("--chunk", type=int, default=8, help="classes before the next side has its turn")
    parser.add_argument("--batch-size", type=int, help="of our side; the fastest one measured by default")
    parser.add_argument("--lucent-batch-size", type=int, help="the fastest one measured by default")
    options = parser.parse_args()
    if options.quick:
        options.classes, options.num_steps, options.chunk = "291,340,963,980", 4, 4
    return options


def main() -> None:
    options = parse()
    # lucent draws from the global generators.
    torch.manual_seed(0)
    np.random.seed(0)
    torch.set_num_threads(options.threads)
    classes = parse_integers("classes", options.classes, limit=1000)
    ours = [our_side(name, options) for name in options.recipes.split(",")]
    peer = lucent_side(options)
    race([*ours, peer], list(classes), options.chunk)
    judge([*ours, peer], list(classes), options.judge)
    note = f"judge {options.judge}, {options.threads} threads; lucent in batches of {peer.batch_size}"
    publish(options, rows([*ours, peer]), findings(ours, peer), note)


if __name__ == "__main__":
    main()
