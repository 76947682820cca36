"""Losses that a generated image minimises; they can be added and scaled.

`LogitDistance() + 0.001 * L1Norm()` is the loss of the original work. Every objective maps logits `[B, K]`,
target classes `[B]` and images `[B, C, H, W]` to one loss per image `[B]`; the ascent sums over the batch, so
no image's gradient depends on the other images.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

TYPICAL_LOGIT = 30.0


class Objective:
    """Base of all objectives; `first + second` and `number * objective` are objectives too."""

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """Return the loss per image `[B]` of logits `[B, K]`, targets `[B]` and images `[B, C, H, W]`."""
        raise NotImplementedError

    def check(self, losses: Tensor) -> None:
        """Raise ValueError for losses `[B, T]` of a whole ascent, on the CPU, that are wrong."""

    def __str__(self) -> str:
        """Return the objective in words, for people; `repr` is what identifies it."""
        return type(self).__name__

    def of_units(self) -> "Objective":
        """Return the objective of images of units, whose `logits` `[B, 1]` are activations, and `targets` zero.

        Terms of the image stay. Of those of logits the part that raises the target's logit stays: the other
        classes have no counterpart. Raises ValueError for an objective that is not known to have such a part.
        """
        raise ValueError(f"{type(self).__name__} is made for logits of classes")

    def __add__(self, other: "Objective") -> "Objective":
        return Sum(self, other)

    def __rmul__(self, weight: float) -> "Objective":
        return Scaled(weight, self)


@dataclass(frozen=True)
class Sum(Objective):
    """The sum of two objectives."""

    first: Objective
    second: Objective

    def __str__(self) -> str:
        return f"{self.first} + {self.second}"

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        return self.first(logits, targets, images) + self.second(logits, targets, images)

    def of_units(self) -> Objective:
        return Sum(self.first.of_units(), self.second.of_units())


@dataclass(frozen=True)
class Scaled(Objective):
    """An objective times a constant weight."""

    weight: float
    objective: Objective

    def __str__(self) -> str:
        return f"{self.weight:g} · {self.objective}"

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        return self.weight * self.objective(logits, targets, images)

    def of_units(self) -> Objective:
        return Scaled(self.weight, self.objective.of_units())


@dataclass(frozen=True)
class Logit(Objective):
    """The negative of the target's logit (Simonyan et al. 2013, arXiv:1312.6034)."""

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        return -target_logits(logits, targets)

    def of_units(self) -> Objective:
        return self


@dataclass(frozen=True)
class LogitDistance(Objective):
    """|constant − logit|, whose minimum is at a large constant logit."""

    constant: float = 200.0

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        return (self.constant - target_logits(logits, targets)).abs()

    def of_units(self) -> Objective:
        """Return the negative activation: the constant is a distance of logits alone."""
        return Logit()


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Cross-entropy of the target; lowering the logits of all other classes lowers it too."""

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none")

    def of_units(self) -> Objective:
        """Return the negative activation: without other classes the target's logit is what is left."""
        return Logit()


@dataclass(frozen=True)
class L1Norm(Objective):
    """The sum of absolute pixel values."""

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        return images.abs().flatten(1).sum(1)

    def of_units(self) -> Objective:
        return self


@dataclass(frozen=True)
class TotalVariation(Objective):
    """The anisotropic total variation of the image (Mahendran and Vedaldi 2014, arXiv:1412.0035)."""

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        return total_variation(images)

    def of_units(self) -> Objective:
        return self


@dataclass(frozen=True)
class MeanVariation(Objective):
    """The total variation divided by the number of channels and the side length of the image.

    It is the same for a picture at any size: a bright half beside a dark one has 1, however many pixels it has.
    """

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        return total_variation(images) / (images.shape[1] * images.shape[-1])

    def of_units(self) -> Objective:
        return BesideActivation(self)


@dataclass(frozen=True)
class BesideActivation(Objective):
    """A term of the image that is weighed against logits, for units: term · |a| / 30, where |a| is a constant.

    The target's logit is about 30 in a finished image. The activation a of a unit can be a thousand times less, so
    that the term would be all that is left.
    """

    term: Objective

    def __str__(self) -> str:
        return f"|activation| / {TYPICAL_LOGIT:g} · {self.term}"

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        size = target_logits(logits, targets).detach().abs() / TYPICAL_LOGIT
        return size * self.term(logits, targets, images)

    def of_units(self) -> Objective:
        return self


def target_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the logit of each image's own target `[B]` from logits `[B, K]`."""
    return logits.gather(1, targets[:, None]).squeeze(1)


def total_variation(images: Tensor) -> Tensor:
    """Return the sum `[B]` of absolute differences between neighbouring pixels of images `[B, C, H, W]`."""
    vertical = (images[:, :, 1:] - images[:, :, :-1]).abs().flatten(1).sum(1)
    horizontal = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().flatten(1).sum(1)
    return vertical + horizontal
