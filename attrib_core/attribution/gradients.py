"""Methods that need one gradient at the image, and sums of gradients at points around it."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from attrib_core.attribution.subject import Subject, objective

# The point `[N, C, H, W]` that a copy of the images of a slice is moved to: (copy, slice) to points.
PointOf = Callable[[int, slice], Tensor]


def gradient(subject: Subject) -> Tensor:
    """Return the gradient of the target. Simonyan et al. 2013, arXiv:1312.6034."""
    return subject.gradients["target"]


def abs_gradient_x_input(subject: Subject) -> Tensor:
    """Return |gradient| · image, never negative."""
    return subject.gradients["target"].abs() * subject.images


def gradient_x_input(subject: Subject) -> Tensor:
    """Return gradient · image. Shrikumar et al. 2016, arXiv:1605.01713."""
    return subject.gradients["target"] * subject.images


def loss_gradient(subject: Subject) -> Tensor:
    """Return the gradient of the label's cross-entropy, each image's own."""
    return subject.gradients["loss"]


def loss_gradient_x_input(subject: Subject) -> Tensor:
    """Return the gradient of the label's cross-entropy · image."""
    return subject.gradients["loss"] * subject.images


def weighted_gradients(subject: Subject, point_of: PointOf, weights: Sequence[float]) -> Tensor:
    """Return Σ weight · gradient of the target at the copies of each image, one copy a weight: `[B, C, H, W]`.

    Passes hold several copies where images are few. Each image's sum runs in the order of the copies, so that it
    does not depend on how they fall into passes.
    """
    count = len(subject.images)
    total = torch.zeros_like(subject.images)

    def run(rows: range) -> Tensor:
        pieces = list(pieces_of(rows, count))
        points = torch.cat([point_of(copy, part) for copy, part in pieces])
        classes = torch.cat([subject.classes[part] for _, part in pieces])
        _, (found,) = subject.model.gradients(points, [objective(subject.target, classes)])
        for (copy, part), piece in zip(
            pieces, torch.split(found, [_size(part) for _, part in pieces]), strict=True
        ):
            total[part].add_(piece, alpha=weights[copy])
        return total

    subject.model.in_passes(len(weights) * count, run)
    return total


def pieces_of(rows: range, count: int) -> Iterator[tuple[int, slice]]:
    """Split rows of copies × images into pairs (copy, slice of its images)."""
    start = rows.start
    while start < rows.stop:
        copy, first = divmod(start, count)
        last = min(count, first + rows.stop - start)
        yield copy, slice(first, last)
        start += last - first


def _size(part: slice) -> int:
    size: int = part.stop - part.start
    return size
