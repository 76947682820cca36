"""How many channels of a layer can be looked at in a minute? Images of units against torch-lucent.

lucent at its defaults; the same classifier, layer, channels and threads for all. All take turns at a few channels,
since the pace of a shared machine drifts. lucent works at the batch size that is fastest for it, measured first.
Speed alone could be had by stopping early, so all pictures are measured by the same code: the channel's mean
activation in the 8-bit picture at the model's size, in float32. Seconds are those of making images.
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

from attrib_core.classifiers import load_classifier, with_folded_batch_norms
from attrib_core.execution import choose_execution, fastest_batch_size
from attrib_core.generation import (
    UnitCell,
    UnitTask,
    find_recipe,
    generate_unit_cells,
    recipe_of_units,
    to_8_bits,
)
from attrib_core.generation.unit_evaluation import evaluate_units
from attrib_core.generation.unit_images import gives_the_same
from attrib_core.prepared import PreparedModel, prepare
from attrib_core.units import Layer, UnitName, find_layer
from sweeps.ranges import parse_integers

BATCH_SIZES = {"cpu": (4, 8, 12), "cuda": (8, 16, 32, 64, 128, 256)}
MODEL, LUCENT = "efficientnet_lite0", "lucent"
SPEED_TARGET, ACTIVATION_TARGET = 5.0, 1.0
WARM_UP_STEPS = 4


@dataclass(eq=False)
class Side:
    """One way to make images `[B, 3, H, W]` of channels, and what it has come to."""

    name: str
    make: Callable[[Sequence[int]], Tensor]
    batch_size: int
    seconds: list[float] = field(default_factory=list)  # per chunk
    images: list[Tensor] = field(default_factory=list)  # uint8, in the order of the channels
    activations: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))  # per channel

    def work(self, channels: Sequence[int]) -> None:
        """Make a chunk's images, batch by batch, and note the seconds."""
        start = time.perf_counter()
        for first in range(0, len(channels), self.batch_size):
            self.images.append(to_8_bits(self.make(channels[first : first + self.batch_size])))
        self.seconds.append(time.perf_counter() - start)

    def channels_per_minute(self) -> float:
        """Return how many channels a minute the side makes images of."""
        return 60 * len(self.activations) / sum(self.seconds)


def our_side(name: str, layer: Layer, options: argparse.Namespace) -> Side:
    """Return the side that runs a recipe by `generate_unit_cells`, as an actor of the sweep calls it."""
    plain = prepare(load_classifier(MODEL), batch_size=options.batch_size)
    folded = prepare(with_folded_batch_norms(plain.classifier), batch_size=options.batch_size)
    size = plain.classifier.image_size
    model = folded if gives_the_same(plain, folded, layer, size) else plain
    recipe = recipe_of_units(find_recipe(name), "recipes")

    def make(channels: Sequence[int], num_steps: int = options.num_steps or recipe.num_steps) -> Tensor:
        task = UnitTask(
            layer=layer,
            directions={},
            recipe=recipe if num_steps == recipe.num_steps else recipe.with_num_steps(num_steps),
            image_size=size,
        )
        return generate_unit_cells(model, task, [UnitCell(UnitName(each), 0) for each in channels]).images

    make(range(model.batch_size), WARM_UP_STEPS * len(recipe.stages))
    return Side(name, make, model.batch_size)


def lucent_side(layer: Layer, options: argparse.Namespace) -> Side:
    """Return the side of lucent's defaults, one image at a time as in its documentation, or in batches."""
    # Weights in channels_last as ours are. lucent's users would not do that; it makes lucent faster.
    execution = choose_execution()
    classifier = execution.prepare(load_classifier(MODEL))
    path = f"network_{layer.name.replace('.', '_')}"  # as lucent spells it

    def make(channels: Sequence[int], num_steps: int = options.lucent_num_steps) -> Tensor:
        return lucent_images(classifier, channels, layer=path, num_steps=num_steps)

    def warm_up(batch_size: int) -> Tensor:
        return make(range(batch_size), WARM_UP_STEPS)

    sizes = [1, *(size for size in BATCH_SIZES[execution.device.type] if size <= options.chunk)]
    return Side(LUCENT, make, options.lucent_batch_size or fastest_batch_size(warm_up, sizes))


def race(sides: Sequence[Side], channels: Sequence[int], chunk: int) -> None:
    """Have all sides make the images of a few channels, then of the next few. Another side begins each time."""
    for turn, first in enumerate(range(0, len(channels), chunk)):
        for place in range(len(sides)):
            side = sides[(turn + place) % len(sides)]
            side.work(channels[first : first + chunk])
            print(
                f"{side.name}: {len(channels[first : first + chunk])} in {side.seconds[-1]:.1f} s", flush=True
            )


def measure(sides: Sequence[Side], channels: Sequence[int], model: PreparedModel, layer: Layer) -> None:
    """Measure each side's pictures by the same code."""
    units = [UnitName(channel) for channel in channels]
    for side in sides:
        found = evaluate_units(model, layer, units, {}, torch.cat(side.images))
        side.activations = found.activation.numpy()


def rows(sides: Sequence[Side], peer: Side) -> list[Row]:
    """Return a row for each side."""
    return [
        {
            "side": side.name,
            "batch size": side.batch_size,
            "channels": len(side.activations),
            "mean activation": float(side.activations.mean()),
            "at least the peer's": int((side.activations >= peer.activations).sum()),
            "seconds": sum(side.seconds),
            "channels/min": side.channels_per_minute(),
        }
        for side in sides
    ]


def findings(sides: Sequence[Side], peer: Side) -> list[Finding]:
    """Return ratios to the peer, of speed and of activation."""
    found: list[Finding] = []
    for side in sides:
        name = f"{side.name} / {peer.name}"
        speed = side.channels_per_minute() / peer.channels_per_minute()
        turns = [theirs / ours for ours, theirs in zip(side.seconds, peer.seconds, strict=True)]
        activation = float(side.activations.mean() / peer.activations.mean())
        found += [
            Finding(name=f"{name}, channels a minute", value=speed, target=SPEED_TARGET),
            Finding(name="  the same in the median turn", value=statistics.median(turns)),
            Finding(name="  mean activation of the pictures", value=activation, target=ACTIVATION_TARGET),
        ]
    return found


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--layer", default="blocks.4.1")
    parser.add_argument("--channels", default="0-15")
    parser.add_argument("--recipes", default="default,fast,fast:num_steps=32")
    parser.add_argument("--num-steps", type=int, help="of our sides; by default each recipe's own")
    parser.add_argument("--lucent-num-steps", type=int, default=128, help="lucent's own default is 512")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of every side")
    parser.add_argument("--chunk", type=int, default=8, help="channels before the next side has its turn")
    parser.add_argument("--batch-size", type=int, help="of our sides; by the size of the images by default")
    parser.add_argument("--lucent-batch-size", type=int, help="the fastest one measured by default")
    options = parser.parse_args()
    if options.quick:
        options.channels, options.num_steps, options.lucent_num_steps, options.chunk = "0-3", 4, 4, 4
    return options


def main() -> None:
    options = parse()
    # lucent draws from the global generators.
    torch.manual_seed(0)
    np.random.seed(0)
    torch.set_num_threads(options.threads)
    model = prepare(load_classifier(MODEL))
    layer = find_layer("layer", model, options.layer, model.classifier.image_size)
    channels = parse_integers("channels", options.channels, limit=layer.num_channels)
    ours = [our_side(name, layer, options) for name in options.recipes.split(",")]
    peer = lucent_side(layer, options)
    race([*ours, peer], channels, options.chunk)
    measure([*ours, peer], channels, model, layer)
    note = (
        f"{options.threads} threads; lucent in batches of {peer.batch_size}, {options.lucent_num_steps} steps"
    )
    publish(options, rows([*ours, peer], peer), findings(ours, peer), note)


if __name__ == "__main__":
    main()
