"""How fast, and how exactly, is FGSM at twelve ε over 10,000 images, against foolbox and torchattacks?

The same model, images, ε and cores. Ours runs in a process set up as a sweep's actors are, the peers in one as
their users have it. All sides take turns chunk by chunk, and each does every chunk; ours is also held against its
bound: a forward pass, a backward pass and a forward pass for each ε, in the same process and configuration.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
from peer_attacks import (
    EPSILONS,
    Predict,
    foolbox_predictions,
    foolbox_successes,
    test_images,
    torchattacks_predictions,
)
from reporting import Finding, Row, command_line, publish
from torch import Tensor

from attrib_core.attacks import AttackBatch, AttackSettings, attack_batch
from attrib_core.attacks.loss_gradient import loss_gradient
from attrib_core.attacks.mixed_precision import AttackPrecision, attacked_model
from attrib_core.classifiers import load_classifier
from attrib_core.prepared import PreparedModel
from cluster.process_memory import keep_freed_memory

MODEL = "fashion_deep"
MORE_EPSILONS = (*EPSILONS, *(step / 100 for step in range(2, 10)), *(step / 10 for step in range(2, 6)))
PRECISIONS: tuple[AttackPrecision, ...] = ("float32", "bfloat16", "mixed")
PEERS, PEER_BATCHES = ("foolbox", "torchattacks"), (200, 500)

# Maps a batch of images `[B, C, H, W]` and labels `[B]` to an answer for each ε.
Run = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Side:
    """One way to do it, in its process: seconds of each turn, and the answers `[N, E]` of the first round."""

    name: str
    batch_size: int
    process: Connection
    seconds: list[float] = field(default_factory=list)
    answers: list[Tensor] = field(default_factory=list)

    def take_turn(self, start: int, stop: int, *, keeps: bool) -> None:
        """Have the images from `start` to `stop` done."""
        self.process.send((self.name, self.batch_size, start, stop))
        seconds, answers = self.process.recv()
        self.seconds.append(seconds)
        if keeps:
            self.answers.append(torch.from_numpy(answers))

    def total(self) -> float:
        """Return the seconds for all chunks."""
        return sum(self.seconds)


def serve(connection: Connection, build: Callable[[], dict[str, Run]], num_threads: int) -> None:
    """Build the sides of a process, then do what it is sent."""
    torch.set_num_threads(num_threads)
    runs, (images, labels) = build(), test_images()
    connection.send("ready")
    while request := connection.recv():
        name, batch_size, start, stop = request
        chunk = images[start:stop], labels[start:stop]
        batches = zip(*(part.split(batch_size) for part in chunk), strict=True)
        begin = time.perf_counter()
        answers = [runs[name](*batch) for batch in batches]
        connection.send((time.perf_counter() - begin, torch.cat(answers).numpy()))


def our_runs() -> dict[str, Run]:
    """Return our sides, set up as in an actor."""
    keep_freed_memory()
    images, labels = test_images()
    sample = AttackBatch(images=images[::40], labels=labels[::40])
    models = {name: attacked_model(load_classifier(MODEL), name, sample, EPSILONS) for name in PRECISIONS}
    return {
        **{f"ours {name}": partial(ours, model, EPSILONS) for name, model in models.items()},
        "ours float32, 24 ε": partial(ours, models["float32"], MORE_EPSILONS),
        "rechecked": partial(rechecked, models["mixed"]),
        "bound": partial(bound, models["float32"]),
        "12 forward passes": partial(forward_passes, models["float32"], 12),
    }


def peer_runs() -> dict[str, Run]:
    """Return the peers' sides, and the predictions for foolbox's images."""
    return {
        "foolbox": partial(at_all, foolbox_successes(load_classifier(MODEL))),
        "torchattacks": partial(at_all, torchattacks_predictions(load_classifier(MODEL))),
        "foolbox's predictions": partial(at_all, foolbox_predictions(load_classifier(MODEL))),
    }


def ours(model: PreparedModel, epsilons: Sequence[float], images: Tensor, labels: Tensor) -> Tensor:
    """Return predictions as the sweep makes them, without the check of rounded images that no peer does."""
    batch, settings = AttackBatch(images=images, labels=labels), AttackSettings(rounding=False)
    return attack_batch(model, batch, "fgsm", epsilons, settings).adversarial.prediction


def rechecked(model: PreparedModel, images: Tensor, labels: Tensor) -> Tensor:
    """Return which predictions were made twice."""
    batch, settings = AttackBatch(images=images, labels=labels), AttackSettings(rounding=False)
    return attack_batch(model, batch, "fgsm", EPSILONS, settings).rechecked


def bound(model: PreparedModel, images: Tensor, labels: Tensor) -> Tensor:
    """Do the least that the method needs: a gradient, and a forward pass for each ε. The answers mean nothing."""
    loss_gradient(model, images, labels)
    return forward_passes(model, len(EPSILONS), images, labels)


def forward_passes(model: PreparedModel, count: int, images: Tensor, _labels: Tensor) -> Tensor:
    """Do forward passes alone, to measure the cost of one."""
    return torch.stack([model.logits(images).argmax(1) for _ in range(count)], 1)


def at_all(predict: Predict, images: Tensor, labels: Tensor) -> Tensor:
    """Return a peer's answers at every ε."""
    return predict(images, labels, EPSILONS)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--chunk", type=int, default=2000, help="images a turn")
    parser.add_argument("--rounds", type=int, default=1, help="how often all images are done")
    parser.add_argument("--batch-size", type=int, default=400, help="our batch; twice that in bfloat16")
    options = parser.parse_args()
    num_images = 1000 if options.quick else 10_000
    processes = [start(build, options.threads) for build in (our_runs, peer_runs)]
    sides = sides_of(*processes, options.batch_size)
    for side in sides.values():
        side.take_turn(0, side.batch_size, keeps=False)  # a warm-up
        side.seconds.clear()
    for round_number in range(options.rounds):
        for begin in range(0, num_images, min(options.chunk, num_images // 2)):
            for side in sides.values():
                end = begin + min(options.chunk, num_images // 2)
                side.take_turn(begin, end, keeps=round_number == 0)
    share, expected = Side("rechecked", 400, processes[0]), Side("foolbox's predictions", 500, processes[1])
    for side in (share, expected):
        side.take_turn(0, num_images, keeps=True)
    for process in processes:
        process.send(None)
    publish(
        options,
        rows(sides),
        findings(sides, expected.answers[0], share.answers[0].float().mean().item()),
    )


def start(build: Callable[[], dict[str, Run]], num_threads: int) -> Connection:
    """Start a process that serves, and return when it is ready."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=serve, args=(there, build, num_threads), daemon=True).start()
    here.recv()
    return here


def sides_of(ours_there: Any, peers_there: Any, batch_size: int) -> dict[str, Side]:
    """Return all sides that take turns; a peer once for each of its batch sizes."""
    names = [*(f"ours {name}" for name in PRECISIONS), "bound", "ours float32, 24 ε", "12 forward passes"]
    own = {name: Side(name, batch_size * (1 + ("bfloat16" in name)), ours_there) for name in names}
    return own | {
        f"{peer}, batch {size}": Side(peer, size, peers_there) for size in PEER_BATCHES for peer in PEERS
    }


def rows(sides: dict[str, Side]) -> list[Row]:
    """Return a row for each side."""
    reference = sides["ours float32"].total()
    return [
        {
            "side": name,
            "batch": side.batch_size,
            "seconds": side.total(),
            "of ours float32": side.total() / reference,
        }
        for name, side in sides.items()
    ]


def findings(sides: dict[str, Side], expected: Tensor, share: float) -> list[Finding]:
    """Return the ratios of times, and the answers that differ."""
    seconds = {name: side.total() for name, side in sides.items()}
    further = (seconds["ours float32, 24 ε"] - seconds["ours float32"]) / seconds["12 forward passes"]
    return [
        *ratios(seconds),
        Finding(
            name="share of the bound, float32", value=seconds["bound"] / seconds["ours float32"], target=0.9
        ),
        Finding(name="price of a further ε", value=further, unit="forward passes", target=1.1, at_most=True),
        Finding(name="share rechecked, mixed", value=share),
        *differences(sides, expected),
    ]


def ratios(seconds: dict[str, float]) -> list[Finding]:
    """Return the speed relative to each peer, at the usual batch of 500 and at the peer's best."""
    targets = {
        "float32": {"foolbox": 5.0, "torchattacks": 5.0},
        "bfloat16": {"foolbox": 12.0},
        "mixed": {"foolbox": 9.0},
    }
    found = []
    for precision in PRECISIONS:
        for peer in PEERS:
            times = [seconds[f"{peer}, batch {size}"] for size in PEER_BATCHES]
            for text, time_taken, target in (
                ("batch 500", times[-1], targets[precision].get(peer)),
                ("its best batch", min(times), None),
            ):
                ratio = time_taken / seconds[f"ours {precision}"]
                found.append(
                    Finding(name=f"{precision} / {peer}, {text}", value=ratio, unit="x", target=target)
                )
    return found


def differences(sides: dict[str, Side], expected: Tensor) -> list[Finding]:
    """Count the predictions that differ from the peers'."""
    theirs = {"foolbox": expected, "torchattacks": torch.cat(sides["torchattacks, batch 500"].answers)}
    return [
        Finding(
            name=f"{precision}: predictions unlike {peer}'s",
            value=float((torch.cat(sides[f"ours {precision}"].answers) != answers).sum()),
            unit=f"of {answers.numel():,}",
        )
        for precision in PRECISIONS
        for peer, answers in theirs.items()
    ]


if __name__ == "__main__":
    main()
