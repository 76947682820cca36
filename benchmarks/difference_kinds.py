"""Why a prediction after our attack differs from that after foolbox's: by the first step at which the two part.

Both libraries add up the same numbers, in another order. So their gradients agree to about six digits, and their
points as well, until one of these happens:

- a pixel's gradient is so small that rounding decides its sign;
- an activation lies on the kink of a ReLU, or two pixels of a pooling window are tied, up to rounding: the
  gradient is that of one linear piece or of the other, and both are right;
- the softmax is saturated, and 1 - p of the label keeps few digits or none;
- a gradient is shorter than 1e-12: in the Euclidean norm foolbox divides by no less, and hardly moves; ours does.
  Told the gradients divided by their largest values, foolbox then predicts what ours predicts.

Where the gradient is exactly zero, ours follows the margin's, and foolbox stays.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from foolbox_steps import SharedAttack, foolbox_steps
from prediction_differences import nearest_kink
from torch import Tensor

from attrib_core.attacks import AttackBatch, AttackSettings, attack_batch
from attrib_core.attacks.batch import Norm
from attrib_core.attacks.iterated import start_in_ball
from attrib_core.attacks.loss_gradient import loss_gradient
from attrib_core.classifiers import Classifier
from attrib_core.prepared import PreparedModel

TIED = "logits tied"
SHORT = "a gradient shorter than 1e-12"
ZERO = "a gradient of exactly zero"
KINK = "a gradient on a kink"
SIGN = "the sign of a tiny gradient"
SATURATED = "a saturated softmax"
KINDS = (TIED, SHORT, ZERO, KINK, SIGN, SATURATED)
UNEXPLAINED = "unexplained"

SHORTEST, TINIEST = 1e-12, 1e-60  # what foolbox divides by at least, and what ours does
# Roundings of float32: of logits, of directions after all layers, and of an activation beside its layer's largest.
TIED_LOGITS, SAME_DIRECTION, ON_KINK = 1e-5, 1e-4, 1.2e-7
# Of a pixel's gradient beside the image's largest; and of 1 - p, of which float32 keeps steps of 6e-8.
NOTHING, KEEPS_DIGITS = 1e-6, 1e-4


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An image on which the predictions differ, with all that foolbox's attack visited."""

    key: int
    image: Tensor  # [C, H, W]
    label: Tensor  # []
    ours: Tensor  # [C, H, W], our adversarial image
    prediction: Tensor  # [], ours
    theirs: Tensor  # [], foolbox's prediction
    fallback: bool  # whether ours followed the margin's gradient
    points: Tensor  # [S + 1, C, H, W], foolbox's
    gradients: Tensor  # [S, C, H, W]

    @property
    def ours_alone(self) -> bool:
        """Return whether only our image is misled."""
        return bool(self.prediction != self.label) and bool(self.theirs == self.label)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Where two attacks part: their points `[C, H, W]`, nearly the same, and their gradients there."""

    label: Tensor
    norm: Norm
    points: tuple[Tensor, Tensor]
    gradients: tuple[Tensor, Tensor]

    @property
    def turned(self) -> Tensor:
        """Return which pixels `[C, H, W]` have gradients of another sign."""
        return self.gradients[0].sign() != self.gradients[1].sign()

    @property
    def is_short(self) -> bool:
        """Return whether foolbox divides by more than the gradient's length."""
        return self.norm == "l2" and bool(_length(self.gradients[1]) < SHORTEST)

    @property
    def differs(self) -> bool:
        """Return whether the two step into different directions, beyond rounding."""
        if self.norm == "linf":
            return bool(self.turned.any())
        ours, theirs = (each.double() for each in self.gradients)
        change = ours / _length(ours).clamp(min=TINIEST) - theirs / _length(theirs).clamp(min=SHORTEST)
        return bool(_length(change) > SAME_DIRECTION)


def explain(model: PreparedModel, attack: SharedAttack, differences: Sequence[Difference]) -> Iterator[str]:
    """Yield the kind of each difference."""
    if not differences:
        return
    batch = AttackBatch(
        images=torch.stack([each.image for each in differences]),
        labels=torch.stack([each.label for each in differences]),
        keys=tuple(each.key for each in differences),
    )
    points = our_points(model, attack, batch)
    gradients = [loss_gradient(model, each, batch.labels)[1] for each in points[:-1]]
    gaps = _gaps(model.logits(torch.stack([each.ours for each in differences])))
    normed = foolbox_steps(attack, batch, normed=True).prediction
    exact = deepcopy(model.classifier).double()
    for row, difference in enumerate(differences):
        part = _part(
            attack.norm, difference, [(p[row], g[row]) for p, g in zip(points, gradients, strict=False)]
        )
        if gaps[row] < TIED_LOGITS:
            yield TIED
        elif difference.fallback:
            yield ZERO
        elif part is not None and part.is_short and normed[row] == difference.prediction:
            yield SHORT
        else:
            yield _kind_of_part(exact, part)


def our_points(model: PreparedModel, attack: SharedAttack, batch: AttackBatch) -> list[Tensor]:
    """Return what our attack visits, S + 1 times `[B, C, H, W]`: each is the end of an attack of fewer steps."""
    visited = [batch.images]
    if attack.random_start:
        visited = [start_in_ball(batch, attack.epsilon, AttackSettings(), attack.norm)]
    for number in range(1, attack.num_steps + 1):
        size = attack.step_size if attack.num_steps > 1 else None  # a single one goes all the way
        settings = AttackSettings(rounding=False, num_steps=number, step_size=size)
        every = range(len(batch.images))
        found = attack_batch(model, batch, attack.ours, [attack.epsilon], settings, keep=every)
        visited.append(found.adversarial_images[:, 0])
    return visited


def _part(norm: Norm, difference: Difference, visited: Sequence[tuple[Tensor, Tensor]]) -> Part | None:
    """Return the first step whose directions differ by more than rounding; None if there is none."""
    theirs = zip(difference.points, difference.gradients, strict=False)
    for (point, gradient), (their_point, their_gradient) in zip(visited, theirs, strict=True):
        part = Part(
            label=difference.label,
            norm=norm,
            points=(point, their_point),
            gradients=(gradient, their_gradient),
        )
        if part.differs:
            return part
    return None


def _kind_of_part(exact: Classifier, part: Part | None) -> str:
    if part is None:
        return UNEXPLAINED
    (ours, probability), (theirs, _) = (_exact_gradient(exact, point, part.label) for point in part.points)
    turned = part.turned
    if part.norm == "linf" and ours[turned].abs().max() < NOTHING * ours.abs().max():
        return SIGN
    # Between the two points, or at one of them.
    crossed = _length(ours - theirs) > SAME_DIRECTION * _length(ours)
    if crossed or min(nearest_kink(point[None]) for point in part.points) < ON_KINK:
        return KINK
    return SATURATED if 1 - probability < KEEPS_DIGITS else UNEXPLAINED


def _exact_gradient(exact: Classifier, point: Tensor, label: Tensor) -> tuple[Tensor, float]:
    """Return the gradient `[C, H, W]` of the cross-entropy in float64, and the label's probability."""
    image = point.double()[None].requires_grad_()
    logits = exact(image)
    loss = torch.nn.functional.cross_entropy(logits, label[None])
    (gradient,) = torch.autograd.grad(loss, image)
    return gradient[0], torch.exp(-loss).item()


def _gaps(logits: Tensor) -> Tensor:
    top = logits.topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


def _length(values: Tensor) -> Tensor:
    # In float32 the square of a tiny gradient is zero.
    return torch.linalg.vector_norm(values.double())
