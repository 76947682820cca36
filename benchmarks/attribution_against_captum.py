"""How fast, and how exactly, are integrated gradients and occlusion over test images, against captum?

The same model, images, cores and process. All sides take turns chunk by chunk, and each does every chunk: ours at
its own batch size, captum at several, of which its fastest counts. And what does attribution after a minibatch of
training cost, sixteen images by gradient x input, beyond the forward and backward pass that it consists of?
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import torch
from captum.attr import IntegratedGradients, Occlusion
from peer_attacks import test_images
from reporting import Finding, Row, command_line, publish
from torch import Tensor

from attrib_core.attribution import AttributionSettings, attribute
from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.prepared import PreparedModel, prepare
from cluster.process_memory import keep_freed_memory

MODEL = "fashion_deep"
SETTINGS = AttributionSettings(window_size=4, stride=2, num_steps=50)
WINDOW, STRIDES = (1, 4, 4), (1, 2, 2)
METHODS = ("integrated_gradients", "occlusion")
TARGETS = {"integrated_gradients": 3.0, "occlusion": 5.0}
OURS = "ours"
INTERNAL_BATCHES = (50, 100, 200, 400)  # of captum's integrated gradients ...
HANDED_OVER = 50  # ... which may not be less than the images that it is given
OCCLUSION_BATCHES = ((1, 100), (1, 200), (4, 50), (8, 25))  # windows × images in one forward pass of captum's
PANEL = 16  # images explained after every minibatch

# Maps images `[B, C, H, W]` and classes `[B]` to attributions.
Run = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Side:
    """One way to compute a method: seconds of each turn, and its attributions."""

    method: str
    name: str
    run: Run
    batch_size: int | None = None  # images handed over at a time; None: all of a turn
    seconds: list[float] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def take_turn(self, images: Tensor, classes: Tensor) -> None:
        """Explain a chunk."""
        size = self.batch_size or len(images)
        begin = time.perf_counter()
        parts = [self.run(*part) for part in zip(images.split(size), classes.split(size), strict=True)]
        self.seconds.append(time.perf_counter() - begin)
        self.values.append(torch.cat(parts).detach())


def our_sides(model: PreparedModel) -> list[Side]:
    """Return our sides, at the batch size that we choose."""

    def run(method: str, images: Tensor, classes: Tensor) -> Tensor:
        found = attribute(model, images, classes, [method], target="label", settings=SETTINGS)
        return found.values[method]

    return [Side(method, OURS, partial(run, method)) for method in METHODS]


def captum_sides(classifier: Classifier) -> list[Side]:
    """Return captum's sides, as its documentation has it, at several batch sizes."""
    integrated, occlusion = IntegratedGradients(classifier), Occlusion(classifier)

    def integrate(batch_size: int, images: Tensor, classes: Tensor) -> Tensor:
        return integrated.attribute(images, target=classes, n_steps=50, internal_batch_size=batch_size)

    def occlude(num_windows: int, images: Tensor, classes: Tensor) -> Tensor:
        return occlusion.attribute(
            images,
            sliding_window_shapes=WINDOW,
            strides=STRIDES,
            target=classes,
            perturbations_per_eval=num_windows,
        )

    return [
        *(
            Side(METHODS[0], f"captum, batch {size}", partial(integrate, size), HANDED_OVER)
            for size in INTERNAL_BATCHES
        ),
        *(
            Side(
                METHODS[1], f"captum, {windows} windows of {images} images", partial(occlude, windows), images
            )
            for windows, images in OCCLUSION_BATCHES
        ),
    ]


def minibatch_costs(model: PreparedModel, images: Tensor, labels: Tensor, rounds: int) -> dict[str, float]:
    """Return the median seconds of gradient x input for a panel, by `attribute` and as bare passes in turns."""

    def bare() -> Tensor:
        points = model.images(images).detach().requires_grad_()
        logits = model.classifier(points)
        (gradient,) = torch.autograd.grad(logits.gather(1, logits.argmax(1, keepdim=True)).sum(), points)
        return gradient * points.detach()

    runs = {
        OURS: lambda: attribute(model, images, labels, ["gradient_x_input"]),
        "bare": bare,
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: median(times) for name, times in seconds.items()}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=200, help="images a turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--minibatches", type=int, default=300, help="calls for a panel")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as in an actor; it makes captum faster too
    images, labels = (part[: 40 if options.quick else options.images] for part in test_images())
    model = prepare(load_classifier(MODEL), device="cpu")
    sides = our_sides(model) + captum_sides(load_classifier(MODEL))
    take_turns(sides, images, labels, options.chunk)
    rounds = 5 if options.quick else options.minibatches
    costs = minibatch_costs(
        prepare(model.classifier, device="cpu", num_images=PANEL), images[:PANEL], labels[:PANEL], rounds
    )
    publish(options, rows(sides, len(images)), findings(sides, costs))


def take_turns(sides: list[Side], images: Tensor, labels: Tensor, chunk: int) -> None:
    """Run all chunks on all sides, after a warm-up that does not count."""
    for side in sides:
        side.take_turn(images[:8], labels[:8])
        side.seconds.clear()
        side.values.clear()
    for part in zip(images.split(chunk), labels.split(chunk), strict=True):
        for side in sides:
            side.take_turn(*part)


def rows(sides: list[Side], num_images: int) -> list[Row]:
    """Return a row for each side."""
    reference = {side.method: sum(side.seconds) for side in sides if side.name == OURS}
    return [
        {
            "method": side.method,
            "side": side.name,
            "seconds": sum(side.seconds),
            "images/s": num_images / sum(side.seconds),
            "of ours": sum(side.seconds) / reference[side.method],
        }
        for side in sides
    ]


def findings(sides: list[Side], costs: dict[str, float]) -> list[Finding]:
    """Return the ratios of times, the differences of values, and the cost of a minibatch."""
    found = []
    for method in METHODS:
        ours, *peers = sorted((side for side in sides if side.method == method), key=lambda s: s.name != OURS)
        best = min(peers, key=lambda side: sum(side.seconds))
        ratio = sum(best.seconds) / sum(ours.seconds)
        found.append(
            Finding(
                name=f"{method} / captum at its best ({best.name})",
                value=ratio,
                unit="x",
                target=TARGETS[method],
            )
        )
        found += differences(method, torch.cat(ours.values), torch.cat(best.values))
    share = costs[OURS] / costs["bare"]
    found.append(Finding(name=f"gradient x input of {PANEL} images", value=1000 * costs[OURS], unit="ms"))
    found.append(
        Finding(name="of bare forward and backward", value=share, unit="x", target=1.2, at_most=True)
    )
    return found


def differences(method: str, ours: Tensor, theirs: Tensor) -> list[Finding]:
    """Return distances to captum's values. Where a ReLU's input is zero, another memory format may switch it."""
    difference = (ours - theirs).abs().flatten(1).amax(1) / theirs.abs().flatten(1).amax(1)
    agreeing = (difference < 1e-5).float().mean().item()
    return [
        Finding(name=f"{method}: images within 1e-5 of captum's largest value", value=agreeing),
        Finding(name=f"{method}: largest relative difference", value=difference.max().item()),
    ]


if __name__ == "__main__":
    main()
