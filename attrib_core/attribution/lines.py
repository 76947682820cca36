"""Sums of gradients along straight lines in the space of images, with the first layer taken out of the sum."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from attrib_core.attribution.first_layer import BLOCK_NUMBERS, FirstLayer, first_layer, whole_pass
from attrib_core.attribution.gradients import pieces_of, weighted_gradients
from attrib_core.attribution.subject import Subject, objective
from attrib_core.prepared import averaged

IMAGES_AT_A_TIME = 200
CORNERS = [(row, column) for row in (0, 1) for column in (0, 1)]  # of a pool's window, as it looks at them


def line_gradients(
    subject: Subject, start: Tensor, way: Tensor, nodes: Sequence[float], weights: Sequence[float]
) -> Tensor:
    """Return Σ weight · gradient of the target at start + node · way: `[B, C, H, W]`.

    `start` and `way` are `[B, C, H, W]`. Each image's sum runs in the order of the nodes. Where the network has a
    first layer of its own, it runs once at both ends of the line, and once backward; otherwise as
    `weighted_gradients`. The two differ by rounding.
    """
    height, width = subject.images.shape[-2:]
    layer = first_layer(subject.model, (height, width))
    if layer is not None:
        size = subject.model.batch_size
        parts = [slice(first, first + size) for first in range(0, len(start), size)]
        found = [
            _of_layer(layer, subject.part(part.start, part.stop), start[part], way[part], nodes, weights)
            for part in parts
        ]
        return torch.cat(found)

    def point_of(step: int, part: slice) -> Tensor:
        return torch.add(start[part], way[part], alpha=nodes[step])

    return weighted_gradients(subject, point_of, weights)


def _of_layer(
    layer: FirstLayer,
    subject: Subject,
    start: Tensor,
    way: Tensor,
    nodes: Sequence[float],
    weights: Sequence[float],
) -> Tensor:
    """Do what `line_gradients` does for at most as many images as a pass has."""
    model, count = subject.model, len(start)
    with model.execution.numerics(), torch.no_grad():
        at_start, at_end = (_output(layer, each) for each in (start, start + way))
    line = (
        _PooledLine(at_start, at_end, model.batch_size) if layer.pool is not None else _Line(at_start, at_end)
    )

    def run(first: int, rows: range) -> None:
        together = min(IMAGES_AT_A_TIME, count - first)
        pieces = [
            (copy, slice(first + part.start, first + part.stop)) for copy, part in pieces_of(rows, together)
        ]
        points = line.points([(nodes[copy], part) for copy, part in pieces], model.batch_size)
        classes = torch.cat([subject.classes[part] for _, part in pieces])
        with model.execution.numerics():
            with torch.enable_grad():
                points.requires_grad_()
                logits = layer.rest(points, subject.images[:1].expand(len(points), -1, -1, -1))[: len(rows)]
                number = averaged([objective(subject.target, classes)(logits)]).sum()
            (gradient,) = torch.autograd.grad(number, points)
        line.add(gradient, [(weights[copy], part) for copy, part in pieces])

    for first in range(0, count, IMAGES_AT_A_TIME):
        together = min(IMAGES_AT_A_TIME, count - first)
        model.in_passes(len(nodes) * together, partial(run, first))
    return _through(layer, start, line.total())


def _output(layer: FirstLayer, images: Tensor) -> Tensor:
    size = max(layer.model.batch_size, len(images))  # which may have been halved since
    return layer(layer.model.images(whole_pass(images, size)))[: len(images)]


def _through(layer: FirstLayer, images: Tensor, gradient: Tensor) -> Tensor:
    """Return a gradient at the layer's output as one at the images. The layer is affine: any images will do."""
    model, count = layer.model, len(images)
    size = max(model.batch_size, count)
    with model.execution.numerics(), torch.enable_grad():
        points = model.images(whole_pass(images, size)).detach().requires_grad_()
        output = layer(points)
    with model.execution.numerics():
        (found,) = torch.autograd.grad(output, points, whole_pass(gradient, size))
    return found[:count]


class _Line:
    """Points a + t · b of a layer's output, and the sum of gradients there."""

    def __init__(self, at_start: Tensor, at_end: Tensor) -> None:
        self._start, self._way = at_start, at_end - at_start
        self._total = torch.zeros_like(at_start)

    def points(self, wanted: Sequence[tuple[float, slice]], size: int) -> Tensor:
        """Return a pass of `size` points: (t, images) one after the other."""
        found = [torch.add(self._start[part], self._way[part], alpha=t) for t, part in wanted]
        return whole_pass(torch.cat(found), size)

    def add(self, gradient: Tensor, pieces: Sequence[tuple[float, slice]]) -> None:
        """Add the gradients at the last points: (weight, images) one after the other."""
        first = 0
        for weight, part in pieces:
            count = part.stop - part.start
            self._total[part].add_(gradient[first : first + count], alpha=weight)
            first += count

    def total(self) -> Tensor:
        """Return the sum, at the layer's output."""
        return self._total


class _PooledLine:
    """Points of a layer's output after a 2 × 2 max pool, and the sum of gradients before it.

    The four corners of all windows are kept apart. A gradient goes to the corner with the maximum, of equal ones
    to the first, as in torch's own pool. Masks are 0 or 1 in float32: torch compares and multiplies those quick.
    All that a pass needs is written to the same memory every time, a few rows after the other.
    """

    def __init__(self, at_start: Tensor, at_end: Tensor, size: int) -> None:
        height, width = (each // 2 * 2 for each in at_start.shape[-2:])
        self._like, self._size = at_start, (height, width)
        self._starts = [self._corner(at_start, *each) for each in CORNERS]
        self._ways = [
            self._corner(at_end, *each) - start for each, start in zip(CORNERS, self._starts, strict=True)
        ]
        self._corners = [_rows_like(self._starts[0], size) for _ in CORNERS]
        # Sums of gradients of whole windows, of their upper rows, and of the left ones of both rows.
        self._all, self._above, self._left_above, self._left_below = (
            torch.zeros_like(self._starts[0]) for _ in range(4)
        )
        self._block = max(1, BLOCK_NUMBERS // self._starts[0][0].numel())

    def points(self, wanted: Sequence[tuple[float, slice]], size: int) -> Tensor:
        """Return a pass of `size` points: (t, images) one after the other."""
        points = _rows_like(self._starts[0], size)
        first = 0
        for t, part in wanted:
            for rows in _blocks(part, self._block):
                place = slice(first, first + rows.stop - rows.start)
                self._pool(t, rows, place, points[place])
                first = place.stop
        points[first:] = points[first - 1]
        return points

    def add(self, gradient: Tensor, pieces: Sequence[tuple[float, slice]]) -> None:
        """Add the gradients at the last points: (weight, images) one after the other. They are overwritten."""
        left_above, above, left_below, _ = self._corners
        first = 0
        for weight, part in pieces:
            for rows in _blocks(part, self._block):
                place = slice(first, first + rows.stop - rows.start)
                first = place.stop
                given, upper = gradient[place], above[place]
                upper.mul_(given)
                self._all[rows].add_(given, alpha=weight)
                self._above[rows].add_(upper, alpha=weight)
                self._left_above[rows].addcmul_(left_above[place], upper, value=weight)
                self._left_below[rows].addcmul_(left_below[place], given.sub_(upper), value=weight)

    def total(self) -> Tensor:
        """Return the sum, before the pool."""
        total = torch.zeros_like(self._like)
        height, width = self._size
        below = self._all - self._above
        sums = self._left_above, self._above - self._left_above, self._left_below, below - self._left_below
        for (row, column), corner in zip(CORNERS, sums, strict=True):
            total[:, :, row:height:2, column:width:2] = corner
        return total

    def _pool(self, t: float, rows: slice, place: slice, points: Tensor) -> None:
        """Write the maxima to `points`, and over three corners who wins: left above, the upper row, left below."""
        corners = [each[place] for each in self._corners]
        for corner, start, way in zip(corners, self._starts, self._ways, strict=True):
            torch.add(start[rows], way[rows], alpha=t, out=corner)
        left_above, right_above, left_below, right_below = corners
        torch.maximum(left_above, right_above, out=points)
        left_above.ge_(right_above)
        torch.maximum(left_below, right_below, out=right_above)
        left_below.ge_(right_below)
        torch.maximum(points, right_above, out=right_below)
        right_above.le_(points)
        points.copy_(right_below)

    def _corner(self, output: Tensor, row: int, column: int) -> Tensor:
        height, width = self._size
        return output[:, :, row:height:2, column:width:2].contiguous(memory_format=form_of(output))


def _blocks(part: slice, size: int) -> list[slice]:
    """Return a slice in slices of at most `size` rows."""
    return [slice(first, min(first + size, part.stop)) for first in range(part.start, part.stop, size)]


def _rows_like(tensor: Tensor, size: int) -> Tensor:
    return torch.empty(
        (size, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device, memory_format=form_of(tensor)
    )


def form_of(output: Tensor) -> torch.memory_format:
    """Return the memory format that a layer's output has."""
    is_last = output.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format
