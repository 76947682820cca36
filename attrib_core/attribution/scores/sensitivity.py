"""Maximum sensitivity: how far an attribution moves when the image hardly does."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from attrib_core.attribution.method import Method
from attrib_core.attribution.scores.perturbations import noisy, randomness_of
from attrib_core.attribution.scores.score import Columns, Scored, check_finite
from attrib_core.attribution.subject import Subject, clean_pass
from attrib_core.host_copies import host_copies

MAX_SENSITIVITY = "max_sensitivity"


@dataclass(frozen=True, kw_only=True)
class MaxSensitivitySettings:
    """The points around an image: `num_samples`, no pixel further away than `radius`, in units of [0, 1].

    Raises ValueError for values that cannot be.
    """

    num_samples: int = 10
    radius: float = 0.02

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples={self.num_samples}: accepted are 1 and more")
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise ValueError(f"radius={self.radius}: accepted are numbers above 0, in units of [0, 1]")

    def perturbed(self, images: Tensor, keys: Sequence[int] = (), *, seed: int = 0) -> Tensor:
        """Return the points around images `[B, C, H, W]` at which they are explained: `[B, num_samples, C, H, W]`.

        They follow from the images' keys, by default their positions, and the seed. captum's `perturb_func`
        gets each image `num_samples` times in a row, so `perturbed(...).flatten(0, 1)` gives it the same draws.
        """
        draw = self.draw(images, keys, seed)
        return torch.cat(list(noisy(images, self.num_samples, draw, 1))).transpose(0, 1)

    def draw(self, images: Tensor, keys: Sequence[int], seed: int) -> Callable[..., Tensor]:
        """Return the function from a shape to noise `[B, *shape]` of the images."""
        randomness = randomness_of(MAX_SENSITIVITY, images, keys, seed)
        return partial(randomness.uniform, -self.radius, self.radius)


def max_sensitivity(scored: Scored, settings: MaxSensitivitySettings) -> Columns:
    """Return the largest ‖map(x') − map(x)‖ / ‖map(x)‖ over points x' around the image; ‖·‖ is the l2 norm.

    Yeh et al. 2019, arXiv:1901.09392. It is captum's `sensitivity_max`: a map of norm 0 is divided by 1, points
    are not clipped, and the class explained is that of the clean image. A method's own random numbers are those
    of the clean image too. NaN where a map was computed elsewhere. Raises ValueError for NaN and infinite maps.
    """
    scored.once(check_finite)
    subject, methods = scored.subject, _runnable(scored)
    norms = {name: _norm(scored.values[name]) for name in methods}
    largest = {name: torch.zeros_like(norm) for name, norm in norms.items()}
    draw = settings.draw(subject.images, subject.keys, subject.settings.seed)
    num_samples = settings.num_samples if methods else 0
    for points in noisy(subject.images, num_samples, draw, subject.model.batch_size):
        near = _moved_to(subject, points, methods.values())
        for name, method in methods.items():
            largest[name] = largest[name].maximum(_moved(method, near, scored.values[name]))
    found = {name: largest[name] / torch.where(norm == 0, 1.0, norm) for name, norm in norms.items()}
    _check(found)
    undefined = torch.full_like(subject.logits[:, 0], torch.nan)
    return {MAX_SENSITIVITY: torch.stack([found.get(name, undefined).float() for name in scored.methods], 1)}


def _runnable(scored: Scored) -> dict[str, Method]:
    return {name: method for name, method in scored.methods.items() if not method.is_given}


def _moved_to(subject: Subject, points: Tensor, methods: Collection[Method]) -> Subject:
    """Return the subject of S copies of the images at other points `[S, B, C, H, W]`, copy by copy.

    Its methods share their passes there too.
    """
    num_copies, images = len(points), points.flatten(0, 1)
    classes, labels = subject.classes.repeat(num_copies), subject.labels.repeat(num_copies)
    wanted = {method.gradient_of for method in methods}
    logits, gradients = clean_pass(
        subject.model, images, labels, subject.target, wanted, explained=classes, is_checked=False
    )
    return replace(
        subject,
        images=images,
        keys=subject.keys * num_copies,
        classes=classes,
        labels=labels,
        logits=logits,
        gradients=gradients,
        found={},
    )


def _moved(method: Method, near: Subject, values: Tensor) -> Tensor:
    """Return the largest distance `[B]` from maps `[B, C, H, W]` to those of S copies of the images nearby."""
    at_points = _values(method, near, len(values)).detach().view(-1, *values.shape)
    return _norm(values - at_points).amax(0)


def _values(method: Method, near: Subject, num_images: int) -> Tensor:
    """Return a method's values for copies of the images, one copy at a time where it draws for a whole batch."""
    if not method.draws_by_batch:
        return method.values(near).contiguous()
    starts = range(0, len(near.images), num_images)
    return torch.cat([method.values(near.part(start, start + num_images)) for start in starts])


def _norm(values: Tensor) -> Tensor:
    """Return the l2 norm `[...]` of values `[..., C, H, W]`.

    In float64: gradients of confident images may be so small that float32 cannot hold their squares. And row by
    row, because torch would split the sum of a single image among its threads.
    """
    rows = torch.linalg.vector_norm(values.flatten(-3, -2), dim=-1, dtype=torch.float64)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return norms


def _check(found: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a method whose maps, of sensitivity `[B]`, are not finite at a point near an image."""
    finite = host_copies([each.isfinite().all() for each in found.values()])
    for name, is_finite in zip(found, finite, strict=True):
        if not is_finite:
            raise ValueError(
                f"attribution: that of {name} holds NaN or infinite values at points near an image"
            )
