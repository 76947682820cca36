"""foolbox's attacks, with every point that they visit and the gradient there."""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from peer_attacks import foolbox
from torch import Tensor

from attrib_core.attacks import AttackBatch, AttackSettings
from attrib_core.attacks.batch import Norm
from attrib_core.attacks.fast_gradient import max_normed
from attrib_core.attacks.iterated import start_in_ball
from attrib_core.classifiers import Classifier, load_classifier

MODEL = "fashion_deep"


@dataclass(frozen=True, kw_only=True)
class SharedAttack:
    """An attack that both libraries have, by its two names, at one ε of its norm."""

    ours: str
    theirs: str
    norm: Norm
    epsilon: float = 0.0
    num_steps: int = 1
    random_start: bool = False

    @property
    def step_size(self) -> float:
        """Return the size of a step: ours by default, which foolbox is told."""
        return 2.5 * self.epsilon / self.num_steps if self.num_steps > 1 else self.epsilon


@dataclass(frozen=True)
class Visited:
    """What an attack visits, its last point the adversarial image, and the prediction there."""

    points: Tensor  # [S + 1, B, C, H, W]
    gradients: Tensor  # [S, B, C, H, W]
    prediction: Tensor  # [B]


@cache
def _network() -> Classifier:
    return load_classifier(MODEL)


def foolbox_steps(attack: SharedAttack, batch: AttackBatch, *, normed: bool = False) -> Visited:
    """Run foolbox's attack on a batch, from our random points if it has a random start.

    If `normed`, it is told gradients divided by the largest value of each, which changes only what it does with
    tiny ones.
    """
    seen: list[tuple[Tensor, Tensor]] = []

    class Recorded(getattr(foolbox.attacks, attack.theirs)):  # type: ignore[misc]
        def value_and_grad(self, loss_fn: Any, x: Any) -> Any:
            value, gradient = super().value_and_grad(loss_fn, x)
            seen.append((x.raw.detach(), gradient.raw))
            return value, type(gradient)(max_normed(gradient.raw)) if normed else gradient

        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return type(x0)(start_in_ball(batch, epsilon, AttackSettings(), attack.norm))

    steps = {"steps": attack.num_steps, "abs_stepsize": attack.step_size} if attack.num_steps > 1 else {}
    peer = Recorded(random_start=attack.random_start, **steps)
    model = foolbox.PyTorchModel(_network(), (0, 1), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, (adversarial,), _ = peer(model, batch.images, batch.labels, epsilons=[attack.epsilon])
    points, gradients = (torch.stack(each) for each in zip(*seen, strict=True))
    with torch.no_grad():
        prediction = _network()(adversarial).argmax(1)
    return Visited(torch.cat([points, adversarial[None]]), gradients, prediction)
