"""What goes into an attack, what a method makes of it, and what comes out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from attrib_core.prepared import PreparedModel

# How a change is measured: its largest entry, length, sum of absolute values, or number of changed entries.
Norm = Literal["linf", "l2", "l1", "l0"]
NORMS: tuple[Norm, ...] = get_args(Norm)

# Beyond it a product with a velocity of zero would be no number in float32.
_LARGEST_DECAY = 1e38


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """Settings of all attacks.

    `clip` keeps adversarial images in [0, 1]. Iterated attacks take `num_steps` of `step_size`, in pixel units;
    None is 2.5 ε / num_steps, which can cross the ε-ball (Madry et al. 2017, arXiv:1706.06083). A minimum ε is
    found to `tolerance`. `seed` is part of the key of random numbers. With `rounding`, adversarial images are
    also classified after rounding to 8 bits. The last four are of attacks in `momentum.py`: `decay` None is the
    method's own, `resize_rate` is the smallest share of its side that an image is resized to.
    """

    clip: bool = True
    num_steps: int = 10
    step_size: float | None = None
    tolerance: float = 0.01 / 255
    seed: int = 0
    rounding: bool = True
    decay: float | None = None
    diversity_probability: float = 0.5
    resize_rate: float = 0.9
    kernel_size: int = 15

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps={self.num_steps}: accepted are 1 and more")
        if self.step_size is not None and not 0 < self.step_size <= 1:
            raise ValueError(f"step_size={self.step_size}: accepted are numbers in (0, 1]")
        if not 0 < self.tolerance <= 1:
            raise ValueError(f"tolerance={self.tolerance}: accepted are numbers in (0, 1]")
        if self.decay is not None and not 0 <= self.decay <= _LARGEST_DECAY:
            raise ValueError(f"decay={self.decay}: accepted are numbers in [0, {_LARGEST_DECAY:g}]")
        for name in ("diversity_probability", "resize_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: accepted are numbers in [0, 1]")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size}: accepted are odd numbers from 1")


@dataclass(frozen=True, kw_only=True)
class AttackBatch:
    """Images under attack. Random numbers belong to an image's key, which is the same in any batch."""

    images: Tensor  # [B, C, H, W] in [0, 1]
    labels: Tensor  # [B]
    targets: Tensor | None = None  # [B], the classes aimed at; None for an untargeted attack
    keys: tuple[int, ...] = ()  # [B]
    hopeful: bool = False  # whether the host asks nothing on the way: see `Failures`

    def rows(self, chosen: Sequence[int]) -> "AttackBatch":
        """Return some of the images, with answers on the way."""
        rows = list(chosen)
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            targets=None if self.targets is None else self.targets[rows],
            keys=tuple(self.keys[row] for row in rows) if self.keys else (),
            hopeful=False,
        )

    @property
    def loss_labels(self) -> Tensor:
        """Classes `[B]` whose cross-entropy is differentiated: the targets, or else the labels."""
        return self.labels if self.targets is None else self.targets

    def classes(self, rows: Tensor | None = None) -> Tensor:
        """Return the loss labels of some rows `[N]`, of all by default."""
        return self.loss_labels if rows is None else self.loss_labels[rows]

    @property
    def uphill(self) -> int:
        """1 if the label's loss shall grow, -1 if the target's loss shall shrink."""
        return 1 if self.targets is None else -1

    def succeeds(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return whether each row's prediction is not the label, or is the target; `rows` are those of logits."""
        hit: Tensor = logits.argmax(1) == self.classes(rows)
        return ~hit if self.targets is None else hit


class Failures:
    """Why images of a batch could not be attacked, by row, and what the host asks about images on the way.

    On a CPU an answer costs nothing. For one from another device the host waits, and the device then waits for the
    host: a hundred times a batch. So in a hopeful batch the answer is always no. The rows for which it should have
    been yes are `unsettled`, and their images are attacked again afterwards, with answers: see `attack_batch`.
    """

    def __init__(self, batch: AttackBatch) -> None:
        self.reasons: dict[int, str] = {}
        self.hopeful = batch.hopeful
        self.unsettled = torch.zeros(len(batch.images), dtype=torch.bool, device=batch.images.device)  # [B]

    def any(self, concerned: Tensor, rows: Tensor | None = None) -> bool:
        """Return whether one of the images is concerned `[B]`, or `[N]` for images of the batch's `rows` `[N]`."""
        if not self.hopeful:
            return bool(concerned.any())
        if rows is not None:
            counts = torch.zeros(len(self.unsettled), dtype=torch.long, device=concerned.device)
            concerned = counts.index_add_(0, rows, concerned.long()) > 0
        self.unsettled |= concerned
        return False

    def note(self, failed: Tensor, reason: str, rows: Tensor | None = None) -> None:
        """Note why each image failed, unless an earlier reason is noted; `rows` are those of `any`."""
        if self.any(failed, rows):
            found = failed.nonzero()[:, 0] if rows is None else rows[failed]
            for row in found.tolist():
                self.reasons.setdefault(row, reason)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of a classifier; each `[B]` or `[B, E]`."""

    prediction: Tensor  # the class of the largest logit
    confidence: Tensor  # its softmax probability
    margin: Tensor  # the label's logit minus the largest other one


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """Facts about a batch under one method at E values of ε, on the CPU.

    An image with a reason in `failures` was not attacked: its predictions and ε are -1, its other facts NaN.
    """

    epsilons: Tensor  # [B, E] float64; NaN where no ε succeeds, and where an attack finds no minimum
    clean: Predictions  # [B]
    adversarial: Predictions  # [B, E]
    loss: Tensor  # [B, E], cross-entropy of the label, or of the target
    linf: Tensor  # [B, E], distance to the clean image
    l2: Tensor  # [B, E]
    l1: Tensor  # [B, E]
    l0: Tensor  # [B, E], how many of the C · H · W values differ at all
    rounded_prediction: Tensor  # [B, E], after rounding to 8 bits; the unrounded one's without `rounding`
    rounded_linf: Tensor  # [B, E]
    num_forwards: (
        Tensor  # [B, E] float64, passes of the network that made the adversarial image: see `Passes`
    )
    num_backwards: Tensor  # [B, E] float64
    zero_gradient: Tensor  # [B], whether the gradient of cross-entropy at the clean image is exactly zero
    gradient_fallback: Tensor  # [B, E], whether the margin's gradient was followed: see `loss_gradient`
    rechecked: Tensor  # [B, E], computed again in float32 after a quick pass
    failures: tuple[str | None, ...]  # [B], why an image could not be attacked; None for all others
    direction: Tensor | None  # [D, C, H, W], of the rows that were asked for; None for iterated attacks
    adversarial_images: Tensor  # [S, E, C, H, W], of the S rows that were asked for
    clean_images: Tensor  # [S, C, H, W], of the same rows


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Rows of a batch whose images a result holds."""

    images: tuple[int, ...] = ()  # [S], clean and adversarial
    directions: tuple[int, ...] | None = None  # [D]; None for all

    def among(self, rows: Sequence[int]) -> "Keep":
        """Return those of the rows that are among others, as positions there."""
        position = {row: at for at, row in enumerate(rows)}

        def chosen(kept: Sequence[int]) -> tuple[int, ...]:
            return tuple(position[row] for row in kept if row in position)

        directions = None if self.directions is None else chosen(self.directions)
        return Keep(images=chosen(self.images), directions=directions)


@dataclass(frozen=True)
class Clean:
    """Clean images `[B, C, H, W]` in [0, 1] and their logits `[B, K]`."""

    images: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Passes:
    """Passes of the network `[B]` that made the adversarial image of each row; its evaluation does not count.

    A pass in float32 after one whose numbers were not finite counts too. What mixed precision does twice counts
    once.
    """

    forwards: Tensor
    backwards: Tensor


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attack on one batch: the adversarial images at each ε, one after the other."""

    clean: Clean
    direction: Tensor | None  # [B, C, H, W]; None where there is none that all ε share
    epsilons: Tensor  # [B, E] float64, NaN where none succeeds
    points: Iterator[Tensor]  # E times [B, C, H, W]; the clean images themselves where an ε leaves them alone
    zero_gradient: Tensor  # [B], at the clean image
    # Complete when all points are made:
    fallbacks: list[Tensor]  # E times [B], whether the margin's gradient was followed
    passes: list[Passes]  # E times
    failures: Failures
    # If set, the logits `[B, K]` of the one point, which the attack has passed already.
    point_logits: Tensor | None = None
    # If set, ε is this norm of the change that was found, where it succeeds; `epsilons` holds NaN.
    found_norm: Norm | None = None


class Method(ABC):
    """A way to make adversarial images."""

    sees_neighbours: bool = False  # whether an image's result depends on the others of its batch
    seeks_minimum: bool = False  # whether it finds the one ε of each image itself
    images_leave: bool = False  # whether images may be done long before others of their batch
    norm: Norm = "linf"  # the one that ε bounds, or that a minimum is of
    takes_targets: bool = True
    needs_targets: bool = False
    given: Mapping[str, Any] = MappingProxyType({})  # the settings that its reference brings, typed
    own_settings: tuple[str, ...] = ()  # those of `AttackSettings` that shape its images

    @abstractmethod
    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        """Return the attack's adversarial images, which are made one ε at a time, when they are asked for."""

    def describe(self, settings: AttackSettings) -> str:
        """Return in words which settings of its own shape its rows; empty if none."""
        return ""

    def check_settings(self, settings: AttackSettings, image_shape: Sequence[int]) -> None:  # noqa: B027
        """Raise ValueError for settings that make no sense on images `[C, H, W]`; there are none by default."""


def largest_epsilon(norm: Norm, image_shape: Sequence[int]) -> float:
    """Return the norm of a change of every value of an image `[C, H, W]` by 1."""
    num_values = math.prod(image_shape)
    return {"linf": 1.0, "l2": math.sqrt(num_values)}.get(norm, float(num_values))
