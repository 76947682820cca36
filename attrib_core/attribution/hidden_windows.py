"""Logits of images with a window blackened, of which the first layer computes only what the window changes."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.attribution.first_layer import FirstLayer, first_layer, whole_pass
from attrib_core.device_constants import constant
from attrib_core.pooling import SlicedMaxPool2d
from attrib_core.prepared import PreparedModel, joined


@dataclass(frozen=True)
class Side:
    """How windows at G places along a side reach into a layer's output."""

    first: list[int]  # [G], of the positions of the output that are computed again
    begin: list[int]  # [G], of the positions of the padded image that these see
    hidden: list[tuple[int, int]]  # [G], of the padded image: from, to
    num_outputs: int
    num_inputs: int
    length: int  # of the output

    @classmethod
    def of(cls, side: int, window: tuple[int, int], layer: tuple[int, int, int], pool: int) -> "Side":
        """Return it for an image's side, a window's size and stride, a layer's kernel, stride and padding."""
        (size, step), (kernel, stride, padding) = window, layer
        length = ((side + 2 * padding - kernel) // stride + 1) // pool
        starts = [step * place for place in range(-(-(side - size) // step) + 1)]
        hidden = [(start + padding, min(start + size, side) + padding) for start in starts]
        first = [min(max(0, -(-(begin - kernel + 1) // stride)) // pool, length - 1) for begin, _ in hidden]
        last = [min((end - 1) // stride // pool, length - 1) for _, end in hidden]
        count = max(end - begin + 1 for begin, end in zip(first, last, strict=True))
        first = [min(each, length - count) for each in first]
        begin = [each * pool * stride for each in first]
        return cls(first, begin, hidden, count, (count * pool - 1) * stride + kernel, length)


class HiddenWindows:
    """A model, images `[B, C, H, W]`, and what the model's first layer gives for them."""

    def __init__(
        self, layer: FirstLayer, convolution: nn.Conv2d, images: Tensor, sides: tuple[Side, Side]
    ) -> None:
        self._layer, self._images, self._sides = layer, images, sides
        self._convolution, self._norms = convolution, layer.affine[1:]
        model, classifier = layer.model, layer.model.classifier
        vertical, horizontal = (int(each) for each in convolution.padding)
        normalised = (images - classifier.mean) / classifier.std
        self._padded = F.pad(normalised, (horizontal, horizontal, vertical, vertical))
        self._black = -classifier.mean / classifier.std
        self._clean = joined(model.in_passes(len(images), self._given)).permute(0, 2, 3, 1).contiguous()

    @classmethod
    @torch.no_grad()
    def of(cls, model: PreparedModel, images: Tensor, window: tuple[int, int]) -> "HiddenWindows | None":
        """Return it where that saves work; None for a network whose first layer cannot be treated by itself."""
        if not any(isinstance(each, SlicedMaxPool2d) for each in model.classifier.network.modules()):
            return None  # to copy what an unpooled layer gives takes as long as to compute it
        height, width = images.shape[-2:]
        layer = first_layer(model, (height, width))
        if layer is None or layer.pool is None or type(layer.affine[0]) is not nn.Conv2d:
            return None
        convolution = layer.affine[0]
        if (
            isinstance(convolution.padding, str)
            or convolution.padding_mode != "zeros"
            or set(convolution.dilation) != {1}
        ):
            return None
        axes = list(zip(convolution.kernel_size, convolution.stride, convolution.padding, strict=True))
        vertical, horizontal = (
            Side.of(side, window, (kernel, stride, padding), 2)
            for side, (kernel, stride, padding) in zip((height, width), axes, strict=True)
        )
        if 2 * vertical.num_outputs * horizontal.num_outputs > vertical.length * horizontal.length:
            return None
        return cls(layer, convolution, images, (vertical, horizontal))

    @torch.no_grad()
    def logits(self, image: Tensor, place: Tensor) -> Tensor:
        """Return logits `[N, K]` of images under a window, by the numbers `[N]` of both, in one pass."""
        model, count = self._layer.model, len(image)
        image, place = whole_pass(image, model.batch_size), whole_pass(place, model.batch_size)
        vertical, horizontal = self._sides
        row, column = place // len(horizontal.first), place % len(horizontal.first)
        with model.execution.numerics():
            patches = self._pooled(self._patches(image, row, column))
            maps = self._clean[image]  # [N, h, w, C]
            rows = _positions(vertical, row, maps.device)
            columns = _positions(horizontal, column, maps.device)
            start = torch.arange(len(image), device=maps.device)[:, None, None] * vertical.length
            index = (start + rows[:, :, None]) * horizontal.length + columns[:, None, :]
            maps.view(-1, maps.shape[-1]).index_copy_(
                0, index.flatten(), patches.permute(0, 2, 3, 1).reshape(-1, maps.shape[-1])
            )
            like = self._images[:1].expand(len(image), -1, -1, -1)
            return self._layer.rest(maps.permute(0, 3, 1, 2), like)[:count]

    def _given(self, rows: range) -> Tensor:
        assert self._layer.pool is not None
        model, part = self._layer.model, self._images[rows.start : rows.stop]
        with model.execution.numerics():
            given: Tensor = self._layer.pool(self._layer(whole_pass(part, model.batch_size)))
        return given[: len(part)]

    def _patches(self, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return the pixels that see the window, the window blackened, normalised: `[N, C, Q, Q']`."""
        vertical, horizontal = self._sides
        device = image.device
        rows, columns = (
            constant(_inputs, device, tuple(side.begin), side.num_inputs)[which]
            for side, which in ((vertical, row), (horizontal, column))
        )
        of_rows, of_columns = (
            constant(_hidden, device, tuple(side.begin), tuple(side.hidden), side.num_inputs)[which]
            for side, which in ((vertical, row), (horizontal, column))
        )
        patches = self._padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(
            0, 3, 1, 2
        )
        hidden = (of_rows[:, :, None] * of_columns[:, None, :])[:, None]
        return patches.mul_(1 - hidden).add_(self._black * hidden)

    def _pooled(self, patches: Tensor) -> Tensor:
        assert self._layer.pool is not None
        layer = self._convolution
        found: Tensor = F.conv2d(patches, layer.weight, layer.bias, layer.stride, groups=layer.groups)
        for norm in self._norms:
            found = norm(found)
        pooled: Tensor = self._layer.pool(found)
        return pooled


def _positions(side: Side, which: Tensor, device: torch.device) -> Tensor:
    """Return the positions of the output that are computed again, `[N, P]`."""
    return constant(_inputs, device, tuple(side.first), side.num_outputs)[which]


def _inputs(begin: tuple[int, ...], count: int) -> Tensor:
    return torch.tensor(begin)[:, None] + torch.arange(count)


def _hidden(begin: tuple[int, ...], hidden: tuple[tuple[int, int], ...], count: int) -> Tensor:
    """Return 1 where the window covers a position, `[G, Q]`."""
    positions, (first, end) = _inputs(begin, count), torch.tensor(hidden).T
    covered: Tensor = (positions >= first[:, None]) & (positions < end[:, None])
    return covered.float()
