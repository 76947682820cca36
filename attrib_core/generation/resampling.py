"""Views and sizes of images by interpolation, with a gradient that is the same in every run on a GPU.

Interpolation reads each pixel of an image for several pixels of the result, so its gradient adds up several
numbers at each pixel. On a GPU torch adds them in the order in which threads come to them, which differs from run
to run; so does the sum, in its last bits, and after a hundred steps the image. Here the sum depends on no order.
Sizes are changed along one axis after the other, which is a product with a matrix; its transpose is the gradient.
A rotated view has no such matrices. Its gradient is added up in whole numbers, whose sums are exact.

On the CPU torch's own gradients have a fixed order. `in_any_order` takes torch's own on a GPU, too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.device_constants import constant

# The largest gradient of an image is this many units. Eight million such terms of one pixel fit into 64 bits.
LARGEST_IN_UNITS = 2.0**40
SMALLEST_LARGEST = 1e-20  # of a gradient that is zero, too; smaller units are no normal float32

_any_order = ContextVar("any_order", default=False)


@contextmanager
def in_any_order(enabled: bool = True) -> Iterator[None]:
    """Take torch's own gradients for interpolations made in the context, in whatever order they add up."""
    token = _any_order.set(enabled)
    try:
        yield
    finally:
        _any_order.reset(token)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize `[B, C, H, W]` to `[B, C, size, size]`, bilinear and antialiased."""
    return _resized(images, size, antialias=True)


def upsample(images: Tensor, size: int) -> Tensor:
    """Enlarge `[B, C, H, H]` to `[B, C, size, size]`, bilinear."""
    return _resized(images, size, antialias=False)


def sample(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Return views `[B, C, size, size]` of square images `[B, C, H, H]`, bilinear, with zeros outside the image.

    `matrices` `[B, 2, 3]` map positions in a view to positions in its image; each spans [-1, 1]. They get no
    gradient.
    """
    if _has_no_order(images):
        sampled: Tensor = _Sampled.apply(images, matrices, size)
        return sampled
    shape = [images.shape[0], images.shape[1], size, size]
    grid = F.affine_grid(matrices, shape, align_corners=False).to(images.dtype)
    return F.grid_sample(images, grid, align_corners=False)


def _has_no_order(images: Tensor) -> bool:
    """Return True if a fixed order is wanted and torch's own gradient has none."""
    return images.device.type != "cpu" and not _any_order.get()


def _resized(images: Tensor, size: int, *, antialias: bool) -> Tensor:
    if images.shape[-2:] == (size, size):
        return images
    if _has_no_order(images) and images.requires_grad:
        resized: Tensor = _Resized.apply(images, size, antialias)
        return resized
    return _interpolate(images, (size, size), antialias)


def _interpolate(images: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=antialias)


class _Resized(torch.autograd.Function):
    """Interpolation to another size, whose gradient is two products with a matrix."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, size: int, antialias: bool) -> Tensor:
        ctx.sides, ctx.antialias = images.shape[-2:], antialias
        return _interpolate(images, (size, size), antialias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        rows, columns = (
            constant(resizing_matrix, gradient.device, side, gradient.shape[-1], ctx.antialias)
            for side in ctx.sides
        )
        # A product for each channel: in one of all channels, an image's place would change last bits.
        channels = gradient.flatten(0, 1)
        many = len(channels)
        summed = torch.bmm(rows.T.expand(many, -1, -1), torch.bmm(channels, columns.expand(many, -1, -1)))
        return summed.view(*gradient.shape[:2], *summed.shape[1:]), None, None


def resizing_matrix(side: int, size: int, antialias: bool) -> Tensor:
    """Return the matrix `[size, side]` that changes the size along one axis."""
    impulses = torch.eye(side)[None, None]  # each row of the image has one bright pixel
    return _interpolate(impulses, (side, size), antialias)[0, 0].T.contiguous()


class _Sampled(torch.autograd.Function):
    """Views by `grid_sample`, whose gradient is added up in whole numbers."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, matrices: Tensor, size: int) -> Tensor:
        grid = affine_grid(matrices.to(images), size)
        ctx.save_for_backward(grid)
        ctx.side = images.shape[-1]
        return F.grid_sample(images, grid, align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return sampling_gradient(gradients[0], ctx.saved_tensors[0], ctx.side), None, None


def affine_grid(matrices: Tensor, size: int) -> Tensor:
    """Return where views of `matrices` `[B, 2, 3]` look in their images: x, y `[B, size, size, 2]`.

    No matrix product, as in torch's own: with TF32 it would be off by a tenth of a pixel.
    """
    centres = constant(_pixel_centres, matrices.device, size)
    across, down, shift = (each[:, None, None] for each in matrices.unbind(2))
    rows = torch.addcmul(shift, down, centres[:, None, None])
    return torch.addcmul(rows, across, centres[:, None])


def _pixel_centres(size: int) -> Tensor:
    return (2 * torch.arange(size) + 1) / size - 1


def sampling_gradient(gradient: Tensor, grid: Tensor, side: int) -> Tensor:
    """Return the gradient `[B, C, side, side]` at images from the one at their views `[B, C, h, w]`.

    `grid` `[B, h, w, 2]` is where each pixel of a view lies in its image. A pixel of the view was the weighted sum
    of the four around that place, so each of them gets its gradient times its weight. All terms are multiples of
    one small unit an image: whole numbers, whose sum is the same in any order.
    """
    batch, channels = gradient.shape[:2]
    indices, weights = _corners(grid, side)
    largest = torch.linalg.vector_norm(gradient, torch.inf, (1, 2, 3), keepdim=True)
    units = largest.clamp_(min=SMALLEST_LARGEST).mul_(1 / LARGEST_IN_UNITS)
    terms = weights[..., None] * (gradient / units).permute(0, 2, 3, 1)[:, :, :, None, None]
    framed = side + 2
    sums = torch.zeros(batch * framed**2, channels, dtype=torch.int64, device=gradient.device)
    sums.index_add_(0, indices.flatten(), terms.long().view(-1, channels))
    inside = sums.view(batch, framed, framed, channels)[:, 1:-1, 1:-1].permute(0, 3, 1, 2)
    gathered: Tensor = inside * units
    return gathered


def _corners(grid: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the four pixels around each place and their weights, both `[B, h, w, 2, 2]`.

    Pixels are numbered through all images, each in a frame of one pixel, in which everything outside the image
    counts.
    """
    places = grid * (side / 2) + (side - 1) / 2
    first = places.floor()
    part = places - first
    weights = torch.stack([1 - part, part], -1)
    corners = (first[..., None] + constant(torch.arange, grid.device, 2)).clamp_(-1, side).long()
    indices = corners[..., 0, None, :] + (side + 2) * corners[..., 1, :, None]
    return indices + constant(_frames, grid.device, len(grid), side), weights[..., 1, :, None] * weights[
        ..., 0, None, :
    ]


def _frames(batch: int, side: int) -> Tensor:
    """Return the number of the pixel 0, 0 of each image `[B, 1, 1, 1, 1]`."""
    return (torch.arange(batch) * (side + 2) ** 2 + side + 3)[:, None, None, None, None]
