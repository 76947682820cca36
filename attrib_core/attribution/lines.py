"""Sums of gradients along straight lines in the space of images, with the first layer taken out of the sum."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attrib_core.attribution.first_layer import BLOCK_NUMBERS, FirstLayer, first_layer, whole_pass
from attrib_core.attribution.gradients import pieces_of, weighted_gradients
from attrib_core.attribution.subject import Subject, objective
from attrib_core.prepared import averaged


def line_gradients(
    subject: Subject, start: Tensor, way: Tensor, nodes: Sequence[float], weights: Sequence[float]
) -> Tensor:
    """Return Σ weight · gradient of the target at start + node · way: `[B, C, H, W]`.

    `start` and `way` are `[B, C, H, W]`. Each image's sum runs in the order of the nodes. Where the network has a
    first layer of its own, it runs once at both ends of the line, and once backward; otherwise as
    `weighted_gradients`. The two differ by rounding; where it switches a ReLU or a pool that stands at a tie, by
    up to some percent of an image's largest value.
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

    def run(rows: range) -> None:
        pieces = list(pieces_of(rows, count))
        points = line.points([(nodes[copy], part) for copy, part in pieces], model.batch_size)
        classes = torch.cat([subject.classes[part] for _, part in pieces])
        with model.execution.numerics():
            with torch.enable_grad():
                points.requires_grad_()
                # A copy: the network may write to what it is given, and activations often do.
                logits = layer.rest(points.clone(), subject.images[:1].expand(len(points), -1, -1, -1))[
                    : len(rows)
                ]
                number = averaged([objective(subject.target, classes)(logits)]).sum()
            (gradient,) = torch.autograd.grad(number, points)
        line.add(gradient, [(weights[copy], part) for copy, part in pieces])

    model.in_passes(len(nodes) * count, run)
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
        self._starts = self._corners_of(at_start)  # [4, B, C, h, w]
        self._ways = self._corners_of(at_end) - self._starts
        one = self._starts[0]
        self._corners = _empty_like(one, 4, size)  # of the last points; those on the left become masks
        self._rows = _empty_like(one, 2, size)  # the maxima of rows; the upper one becomes a mask
        # Sums of gradients: of whole windows, of their upper rows, and of the left corners of both rows.
        self._all, self._above = torch.zeros_like(one), torch.zeros_like(one)
        self._left = _empty_like(one, 2, len(one)).zero_()
        self._block = max(1, BLOCK_NUMBERS // one[0].numel())

    def points(self, wanted: Sequence[tuple[float, slice]], size: int) -> Tensor:
        """Return a pass of `size` points: (t, images) one after the other."""
        points = _empty_like(self._starts[0], 1, size)[0]
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
        first = 0
        for weight, part in pieces:
            for rows in _blocks(part, self._block):
                place = slice(first, first + rows.stop - rows.start)
                first = place.stop
                given, of_rows = gradient[place], self._rows[:, place]
                above, below = of_rows
                above.mul_(given)
                torch.sub(given, above, out=below)
                self._all[rows].add_(given, alpha=weight)
                self._above[rows].add_(above, alpha=weight)
                self._left[:, rows].addcmul_(self._corners[0::2, place], of_rows, value=weight)

    def total(self) -> Tensor:
        """Return the sum, before the pool."""
        total = torch.zeros_like(self._like)
        height, width = self._size
        rows = self._above, self._all - self._above
        for row, (whole, left) in enumerate(zip(rows, self._left, strict=True)):
            total[:, :, row:height:2, 0:width:2] = left
            total[:, :, row:height:2, 1:width:2] = whole - left
        return total

    def _pool(self, t: float, rows: slice, place: slice, points: Tensor) -> None:
        """Write the maxima to `points`, and to the masks where the left corner and the upper row have them."""
        corners, maxima = self._corners[:, place], self._rows[:, place]
        torch.add(self._starts[:, rows], self._ways[:, rows], alpha=t, out=corners)
        left, right = corners[0::2], corners[1::2]
        torch.maximum(left, right, out=maxima)
        left.ge_(right)
        above, below = maxima
        torch.maximum(above, below, out=points)
        above.ge_(below)

    def _corners_of(self, output: Tensor) -> Tensor:
        """Return the corners of all windows `[4, B, C, h, w]`: left and right above, left and right below."""
        height, width = self._size
        made = _empty_like(output[:, :, 0:height:2, 0:width:2], 4, len(output))
        for corner, (row, column) in zip(made, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
            corner.copy_(output[:, :, row:height:2, column:width:2])
        return made


def _blocks(part: slice, size: int) -> list[slice]:
    """Return a slice in slices of at most `size` rows."""
    return [slice(first, min(first + size, part.stop)) for first in range(part.start, part.stop, size)]


def _empty_like(rows: Tensor, num_kinds: int, num_rows: int) -> Tensor:
    """Return room for `[num_kinds, num_rows, C, h, w]`, channels last in memory, for rows `[B, C, h, w]`."""
    _, channels, height, width = rows.shape
    return rows.new_empty(num_kinds, num_rows, height, width, channels).permute(0, 1, 4, 2, 3)
