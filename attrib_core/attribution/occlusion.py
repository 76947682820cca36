"""Occlusion: how the target changes when a window of the image is blackened."""

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.attribution.gradients import gradient_x_input
from attrib_core.attribution.subject import Subject
from attrib_core.device_constants import constant
from attrib_core.host_copies import host_copies


def occlusion(subject: Subject) -> Tensor:
    """Return target(image) − target(image with a window blackened), averaged over the windows that cover a pixel.

    Zeiler and Fergus 2013, arXiv:1311.2901. Windows stand `stride` apart from the upper left corner; those at the
    far borders may be cut off. All channels are blackened, and share their attribution.
    """
    height, width = subject.images.shape[-2:]
    size, stride = subject.settings.window(height, width)
    rows, columns = (
        constant(coverage, subject.images.device, side, size, stride) for side in (height, width)
    )
    differences = _differences(subject, rows.bool(), columns.bool(), (size, stride))
    spread = rows.T @ differences.view(-1, len(rows), len(columns)) @ columns
    mean = spread / torch.outer(rows.sum(0), columns.sum(0))
    return mean[:, None].expand_as(subject.images)


def occlusion_gradient_x_input(subject: Subject) -> Tensor:
    """Return (occlusion + gradient × input) / 2, each divided by its largest absolute value in the image.

    It is the largest absolute value, since dividing by a negative one would turn the sign. What is zero everywhere
    stays zero.
    """
    return (_normed(subject.once(occlusion)) + _normed(gradient_x_input(subject))) / 2


def coverage(side: int, size: int, stride: int) -> Tensor:
    """Return `[G, side]`: 1 where the window at one of G places along a side covers a pixel."""
    starts = stride * torch.arange(-(-(side - size) // stride) + 1)[:, None]
    pixels = torch.arange(side)
    return ((pixels >= starts) & (pixels < starts + size)).float()


def _differences(subject: Subject, rows: Tensor, columns: Tensor, window: tuple[int, int]) -> Tensor:
    """Return target(image) − target(occluded image), `[B, G · G']`.

    `rows` `[G, H]` and `columns` `[G', W]` say which pixels each window place covers. A window over black pixels
    changes nothing, and its difference is 0 without a pass. The pairs (image, place) that remain are put one
    after the other and cut into passes, so that a pass is full whatever the number of places of an image.
    """
    touched = _touched(subject.images, *window)
    [on_host] = host_copies([touched])
    pairs = subject.model.execution.to_device(on_host.nonzero())  # [N, 2], image by image
    # Place p = g · G' + g' combines the rows of window g with the columns of window g'.
    rows_of = rows.repeat_interleave(len(columns), 0)
    columns_of = columns.repeat(len(rows), 1)
    clean = subject.explained(subject.logits, slice(None))

    def run(part: range) -> Tensor:
        image, place = pairs[part.start : part.stop].unbind(1)
        hidden = rows_of[place][:, None, :, None] & columns_of[place][:, None, None, :]
        logits = subject.model.exact_logits(subject.images[image].masked_fill_(hidden, 0))
        return clean[image] - subject.explained(logits, image)

    differences = clean.new_zeros(touched.shape)
    if len(pairs):
        differences[pairs[:, 0], pairs[:, 1]] = torch.cat(subject.model.in_passes(len(pairs), run))
    return differences


def _touched(images: Tensor, size: int, stride: int) -> Tensor:
    """Return which windows cover a pixel that is not black, `[B, G · G']`."""
    brightest = F.max_pool2d(images.abs().amax(1, keepdim=True), size, stride, ceil_mode=True)
    return brightest.flatten(1) > 0


def _normed(values: Tensor) -> Tensor:
    largest = values.abs().amax((1, 2, 3), keepdim=True)
    return torch.where(largest == 0, 0.0, values / largest)
