"""How fast, and how exactly, is FGSM at twelve ε over 10,000 images, against foolbox and torchattacks?

The same model, images, ε and cores. All sides take turns chunk by chunk, and each does every chunk; ours is also held
against its bound: one forward pass, one backward pass and a forward pass for each ε, in the same configuration.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

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

from attrib_core.attacks import AttackBatch, AttackedModel, AttackSettings, attack
from attrib_core.attacks.precision import AttackPrecision, attacked_model
from attrib_core.classifiers import load_classifier

MODEL = "fashion_deep"
MORE_EPSILONS = (*EPSILONS, *(step / 100 for step in range(2, 10)), *(step / 10 for step in range(2, 6)))
PRECISIONS: tuple[AttackPrecision, ...] = ("float32", "bfloat16", "mixed")


@dataclass(eq=False)
class Side:
    """One way to do it: what it runs on a chunk, seconds in each turn, answers `[N, E]` of the first round."""

    name: str
    batch_size: int
    run: Callable[[Tensor, Tensor], Tensor]
    seconds: list[float] = field(default_factory=list)
    answers: list[Tensor] = field(default_factory=list)

    def take_turn(self, images: Tensor, labels: Tensor, *, keeps: bool) -> None:
        """Does a chunk, batch by batch."""
        batches = zip(images.split(self.batch_size), labels.split(self.batch_size), strict=True)
        start = time.perf_counter()
        answers = [self.run(*batch) for batch in batches]
        self.seconds.append(time.perf_counter() - start)
        if keeps:
            self.answers += answers

    def total(self) -> float:
        """Seconds for all chunks."""
        return sum(self.seconds)


def ours(
    model: AttackedModel, epsilons: Sequence[float], shares: list[Tensor] | None = None
) -> Callable[..., Tensor]:
    """Predictions as the sweep makes them, without the look at rounded images that no peer takes."""
    settings = AttackSettings(rounding=False)

    def run(images: Tensor, labels: Tensor) -> Tensor:
        found = attack(model, AttackBatch(images=images, labels=labels), "fgsm", epsilons, settings)
        if shares is not None:
            shares.append(found.rechecked.float().mean())
        return found.adversarial.prediction

    return run


def bound(model: AttackedModel, num_epsilons: int, images: Tensor, labels: Tensor) -> Tensor:
    """The least that the method asks for: a gradient and a forward pass for each ε; the answers mean nothing."""
    model.gradient(images, labels)
    return torch.stack([model.logits(images).argmax(1) for _ in range(num_epsilons)], 1)


def forward_passes(model: AttackedModel, count: int, images: Tensor, _labels: Tensor) -> Tensor:
    """Forward passes alone, to have the price of one."""
    return torch.stack([model.logits(images).argmax(1) for _ in range(count)], 1)


def at_all(predict: Predict, images: Tensor, labels: Tensor) -> Tensor:
    """A peer's answers at every ε."""
    return predict(images, labels, EPSILONS)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--chunk", type=int, default=2000, help="images a turn")
    parser.add_argument("--rounds", type=int, default=1, help="how often all images are done")
    parser.add_argument("--batch-size", type=int, default=400, help="our batch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, labels = test_images()
    if options.quick:
        images, labels, options.chunk = images[:1000], labels[:1000], 500
    sample = AttackBatch(images=images[::40], labels=labels[::40])
    models = {name: attacked_model(load_classifier(MODEL), name, sample, EPSILONS) for name in PRECISIONS}
    shares: list[Tensor] = []
    sides = {
        side.name: side
        for side in (
            *(Side(f"ours {name}", options.batch_size, ours(models[name], EPSILONS, shares if name == "mixed" else None))
              for name in PRECISIONS),
            Side("bound", options.batch_size, partial(bound, models["float32"], len(EPSILONS))),
            Side("ours float32, 24 ε", options.batch_size, ours(models["float32"], MORE_EPSILONS)),
            Side("12 forward passes", options.batch_size, partial(forward_passes, models["float32"], 12)),
            *(Side(f"foolbox, batch {size}", size, partial(at_all, foolbox_successes(load_classifier(MODEL))))
              for size in (200, 500)),
            *(Side(f"torchattacks, batch {size}", size,
                   partial(at_all, torchattacks_predictions(load_classifier(MODEL)))) for size in (200, 500)),
        )
    }  # fmt: skip
    for side in sides.values():
        side.run(images[: side.batch_size], labels[: side.batch_size])  # warm-up
    shares.clear()
    for round_number in range(options.rounds):
        for chunk in zip(images.split(options.chunk), labels.split(options.chunk), strict=True):
            for side in sides.values():
                side.take_turn(*chunk, keeps=round_number == 0)
    # What foolbox predicts, not only whether it succeeds: outside the timing.
    predict = foolbox_predictions(load_classifier(MODEL))
    expected = torch.cat(
        [predict(*batch, EPSILONS) for batch in zip(images.split(500), labels.split(500), strict=True)]
    )
    publish(options, rows(sides), findings(sides, expected, torch.stack(shares).mean().item()))


def rows(sides: dict[str, Side]) -> list[Row]:
    """A row a side."""
    reference = sides["ours float32"].total()
    return [
        {"side": side.name, "batch": side.batch_size, "seconds": side.total(), "of ours float32": side.total() / reference}
        for side in sides.values()
    ]  # fmt: skip


def findings(sides: dict[str, Side], expected: Tensor, share: float) -> list[Finding]:
    """Ratios of times, and answers that differ."""
    seconds = {name: side.total() for name, side in sides.items()}
    answers = {name: torch.cat(side.answers) for name, side in sides.items()}
    least = {
        peer: min(seconds[f"{peer}, batch {size}"] for size in (200, 500))
        for peer in ("foolbox", "torchattacks")
    }
    found = [
        Finding(name="float32 against foolbox, batch 500", value=seconds["foolbox, batch 500"] / seconds["ours float32"],
                unit="x", target=5),
        Finding(name="float32 against torchattacks, batch 500",
                value=seconds["torchattacks, batch 500"] / seconds["ours float32"], unit="x", target=5),
        Finding(name="bfloat16 against foolbox, batch 500",
                value=seconds["foolbox, batch 500"] / seconds["ours bfloat16"], unit="x", target=12),
        Finding(name="mixed against foolbox, batch 500", value=seconds["foolbox, batch 500"] / seconds["ours mixed"],
                unit="x", target=9),
    ]  # fmt: skip
    for precision in PRECISIONS:
        for peer, best in least.items():
            ratio = best / seconds[f"ours {precision}"]
            found.append(Finding(name=f"{precision} against {peer} at its best batch", value=ratio, unit="x"))
    further = (seconds["ours float32, 24 ε"] - seconds["ours float32"]) / seconds["12 forward passes"]
    found += [
        Finding(
            name="share of the bound, float32", value=seconds["bound"] / seconds["ours float32"], target=0.9
        ),
        Finding(name="price of a further ε", value=further, unit="forward passes", target=1.1, at_most=True),
        Finding(name="share rechecked, mixed", value=share),
    ]
    reference = {"foolbox": expected, "torchattacks": answers["torchattacks, batch 500"]}
    for precision in PRECISIONS:
        for peer, theirs in reference.items():
            differing = (answers[f"ours {precision}"] != theirs).sum().item()
            target = None if precision == "bfloat16" else 0.0
            found.append(Finding(name=f"{precision}: predictions unlike {peer}'s", value=float(differing),
                                 unit=f"of {theirs.numel()}", target=target, at_most=True))  # fmt: skip
    return found


if __name__ == "__main__":
    main()
