"""What goes into an attack, checked; and what comes out of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_classes, check_images


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """What all attacks share.

    `clip` keeps adversarial images in [0, 1]. Iterated attacks take `num_steps` of `step_size`, in pixel units;
    None is 2.5 ε / num_steps, which can cross the ε-ball (Madry et al. 2017, arXiv:1706.06083). A minimum ε is
    found to `tolerance`. `seed` is part of the key of random numbers. With `rounding`, images are
    looked at once more after rounding to 8 bits.
    """

    clip: bool = True
    num_steps: int = 10
    step_size: float | None = None
    tolerance: float = 0.01 / 255
    seed: int = 0
    rounding: bool = True

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps={self.num_steps}: accepted are 1 and more")
        if self.step_size is not None and not 0 < self.step_size <= 1:
            raise ValueError(f"step_size={self.step_size}: accepted are numbers in (0, 1]")
        if not 0 < self.tolerance <= 1:
            raise ValueError(f"tolerance={self.tolerance}: accepted are numbers in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class AttackBatch:
    """Images under attack. `keys` tell images apart for random numbers: an image keeps its key in any batch."""

    images: Tensor  # [B, C, H, W] in [0, 1]
    labels: Tensor  # [B]
    targets: Tensor | None = None  # [B], the classes aimed at; None for an untargeted attack
    keys: tuple[int, ...] = ()  # [B]

    @property
    def loss_labels(self) -> Tensor:
        """The classes whose cross-entropy is followed."""
        return self.labels if self.targets is None else self.targets

    @property
    def uphill(self) -> int:
        """1 where the loss is to grow, -1 where that of a target is to shrink."""
        return 1 if self.targets is None else -1


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a classifier says; each `[B]` or `[B, E]`, on the CPU."""

    prediction: Tensor  # the class of the largest logit
    confidence: Tensor  # its softmax probability
    margin: Tensor  # the label's logit minus the largest other one


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """Facts about a batch under one method at E values of ε, on the CPU."""

    epsilons: Tensor  # [B, E] float64; NaN where no ε up to 1 succeeds
    clean: Predictions  # [B]
    adversarial: Predictions  # [B, E]
    loss: Tensor  # [B, E], cross-entropy of the label, or of the target
    linf: Tensor  # [B, E], distance to the clean image
    l2: Tensor  # [B, E]
    rounded_prediction: Tensor  # [B, E], after rounding to 8 bits; the unrounded one's without `rounding`
    rounded_linf: Tensor  # [B, E]
    zero_gradient: Tensor  # [B]
    rechecked: Tensor  # [B, E], computed again in float32 after a quick pass
    direction: Tensor | None  # [B, C, H, W]; None for iterated attacks
    kept: Tensor  # [S, E, C, H, W], adversarial images of the rows that were to be kept


def check_batch(classifier: Classifier, batch: AttackBatch) -> None:
    """ValueError for images or labels that the classifier cannot take, naming the first that is wrong."""
    check_images(classifier, batch.images)
    for name, classes in (("labels", batch.labels), ("targets", batch.targets)):
        if classes is not None:
            check_classes(name, classes, len(batch.images), classifier.num_classes)
    if batch.keys and len(batch.keys) != len(batch.images):
        raise ValueError(f"keys: {len(batch.keys)} of them for {len(batch.images)} images")


def check_epsilons(epsilons: Sequence[float]) -> None:
    """ValueError for an ε outside [0, 1], for one that is listed twice, and for none at all."""
    if not epsilons:
        raise ValueError("epsilons: there are none; at least one is needed")
    for epsilon in epsilons:
        if not (math.isfinite(epsilon) and 0 <= epsilon <= 1):
            raise ValueError(f"epsilons: {epsilon:g}; accepted are numbers in [0, 1], in pixel units")
    if len(set(epsilons)) != len(epsilons):
        twice = next(each for each in epsilons if list(epsilons).count(each) > 1)
        raise ValueError(f"epsilons: {twice:g} is listed twice; list each value once")
