"""Iterated attacks whose images fool other models better: momentum, diverse inputs, smoothed gradients.

Each step follows the sign of a gradient that has gathered speed. All are `bim` but for that gradient g:

    mifgsm    v ← decay · v + g / mean|g|                        Dong et al. 2018, arXiv:1710.06081
    dim       g is taken through a random resizing and padding   Xie et al. 2019, arXiv:1803.06978
    tim       and is blurred by a Gaussian                       Dong et al. 2019, arXiv:1904.02884

Defaults are those of torchattacks. Random numbers belong to an image's key, so that an image does not depend
on its batch; torchattacks draws one size and place for all images of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch, AttackSettings, Attempt, Failures, Method
from attrib_core.attacks.iterated import BALLS, climbing, projected
from attrib_core.attacks.loss_gradient import Gradient, gradient_at
from attrib_core.device_constants import constant
from attrib_core.prepared import PreparedModel
from attrib_core.seeding import Randomness

KERNEL_REACH = 3.0  # standard deviations from the middle of the Gaussian to its edge


@dataclass(frozen=True)
class Momentum(Method):
    """Steps along the sign of a gradient with momentum. `decay` is its default; 0 forgets earlier steps."""

    decay: float
    diverse: bool = False
    smoothed: bool = False

    def __post_init__(self) -> None:
        own = ["num_steps", "step_size", "decay"]
        own += ["diversity_probability", "resize_rate"] * self.diverse + ["kernel_size"] * self.smoothed
        object.__setattr__(self, "own_settings", tuple(own))

    def describe(self, settings: AttackSettings) -> str:
        step = "2.5 epsilon / steps" if settings.step_size is None else f"{settings.step_size:g}"
        words = [f"{settings.num_steps} steps of {step}", f"decay {self._decay(settings):g}"]
        if self.diverse:
            words.append(
                f"resized to {settings.resize_rate:g} and more with probability {settings.diversity_probability:g}"
            )
        if self.smoothed:
            words.append(f"Gaussian kernel of {settings.kernel_size}")
        return ", ".join(words)

    def check_settings(self, settings: AttackSettings, image_shape: Sequence[int]) -> None:
        # What reaches beyond both edges meets nothing but zeros; a wide one would take minutes for each batch. The
        # default is for images of any size.
        _, height, width = image_shape
        largest = max(2 * max(height, width) - 1, AttackSettings.kernel_size)
        if self.smoothed and settings.kernel_size > largest:
            raise ValueError(
                f"kernel_size={settings.kernel_size}: accepted are odd numbers from 1 to {largest} "
                f"for images of {height} x {width}"
            )

    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        self.check_settings(settings, batch.images.shape[1:])
        failures = Failures(batch)
        follow = _Follower(self, model, batch, settings, failures)
        return climbing(
            model, batch, epsilons, failures, lambda epsilon: follow.at(epsilon, self._decay(settings))
        )

    def _decay(self, settings: AttackSettings) -> float:
        return self.decay if settings.decay is None else settings.decay


@dataclass(frozen=True)
class _Follower:
    """The steps of one batch."""

    method: Momentum
    model: PreparedModel
    batch: AttackBatch
    settings: AttackSettings
    failures: Failures

    @cached_property
    def _draws(self) -> Tensor:
        """Random numbers `[B, steps, 4]` of each image's views, on the device. Every ε sees the same views."""
        randomness = Randomness([(self.settings.seed, "dim", key) for key in self.batch.keys])
        return self.model.execution.to_device(randomness.uniform(0, 1, self.settings.num_steps, 4))

    @cached_property
    def _kernel(self) -> Tensor:
        kernel = constant(gaussian, self.batch.images.device, self.settings.kernel_size)
        return kernel.expand(self.batch.images.shape[1], 1, -1, -1)

    def at(self, epsilon: float, decay: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return adversarial images `[B, C, H, W]` at most ε from the clean ones, which of them `[B]` followed the
        margin's gradient at some step, and how many passes each took.
        """
        batch, settings = self.batch, self.settings
        fallback = torch.zeros(len(batch.images), dtype=torch.bool, device=batch.images.device)
        num_passes = torch.zeros(len(batch.images), dtype=torch.long, device=batch.images.device)
        if epsilon == 0:
            return batch.images, fallback, num_passes
        step_size = settings.step_size or 2.5 * epsilon / settings.num_steps
        images, velocity = batch.images, torch.zeros_like(batch.images)
        for step in range(settings.num_steps):
            gradient = self._gradient(images, step, f" before step {step + 1} at ε = {epsilon:g}")
            fallback |= gradient.fallback
            num_passes += gradient.num_passes
            velocity = decay * velocity + self._normed(gradient.values)
            images = images + batch.uphill * step_size * velocity.sign()
            images = projected(images, batch.images, epsilon, settings, BALLS["linf"])
        return images, fallback, num_passes

    def _gradient(self, images: Tensor, step: int, where: str) -> Gradient:
        if not self.method.diverse:
            return gradient_at(self.model, self.batch, images, self.failures, where)
        views = Views.drawn(self._draws[:, step], images.shape, self.settings)
        found = gradient_at(self.model, self.batch, views.of(images), self.failures, where)
        return replace(found, values=views.pulled_back(found.values))

    def _normed(self, gradient: Tensor) -> Tensor:
        if self.method.smoothed:
            gradient = F.conv2d(gradient, self._kernel, padding="same", groups=gradient.shape[1])
        mean = gradient.abs().mean((1, 2, 3), keepdim=True)
        return torch.where(mean == 0, 0.0, gradient / mean)  # a gradient of nothing stays


@dataclass(frozen=True)
class Views:
    """A resizing and padding of each image, which is linear: rows and columns are each multiplied by a matrix."""

    rows: Tensor  # [B, H, H]
    columns: Tensor  # [B, W, W]

    @classmethod
    def drawn(cls, draws: Tensor, shape: Sequence[int], settings: AttackSettings) -> "Views":
        """Return how each image of a shape `[B, C, H, W]` is seen, by draws `[B, 4]` from [0, 1).

        They say how small it becomes, where it is put in height and in width, and whether it is resized at all.
        """
        size, top, left, resized = draws.unbind(1)
        chosen = (resized < settings.diversity_probability)[:, None, None]
        rows, columns = (
            torch.where(chosen, _matrices(side, settings.resize_rate, size, place), _identity(side, draws))
            for side, place in zip(shape[-2:], (top, left), strict=True)
        )
        return cls(rows, columns)

    def of(self, images: Tensor) -> Tensor:
        """Return images `[B, C, H, W]` resized and padded with zeros to the size that they had."""
        return self.rows[:, None] @ images @ self.columns[:, None].mT

    def pulled_back(self, gradient: Tensor) -> Tensor:
        """Return the gradient `[B, C, H, W]` by the images, given that by their views."""
        return self.rows[:, None].mT @ gradient @ self.columns[:, None]


def _matrices(side: int, rate: float, size_draw: Tensor, place_draw: Tensor) -> Tensor:
    """Return the matrices `[B, side, side]` that resize a row of pixels, bilinearly without antialiasing as
    torchattacks does it, to at least `rate` of its length, and put it somewhere among zeros.
    """
    smallest = max(1, int(side * rate))
    size = smallest + (size_draw * (side - smallest)).floor()[:, None]  # [B, 1]
    start = (place_draw[:, None] * (side - size)).floor()
    pixels = torch.arange(side, dtype=size.dtype, device=size.device)
    source = ((pixels - start + 0.5) * side / size - 0.5).clamp(
        0, side - 1
    )  # [B, side], where each is taken from
    inside = (pixels >= start) & (pixels < start + size)
    return (1 - (source[:, :, None] - pixels).abs()).clamp(min=0) * inside[:, :, None]


def _identity(side: int, like: Tensor) -> Tensor:
    return torch.eye(side, dtype=like.dtype, device=like.device)


def gaussian(size: int) -> Tensor:
    """Return a Gaussian kernel `[1, 1, size, size]` that adds up to 1."""
    line = torch.exp(-torch.linspace(-KERNEL_REACH, KERNEL_REACH, size, dtype=torch.float64).square() / 2)
    kernel = torch.outer(line, line)
    return (kernel / kernel.sum()).float()[None, None]
