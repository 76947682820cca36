"""What blackening a window of the image does to the target."""

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.attribution.gradients import gradient_x_input
from attrib_core.attribution.model import NUM_PADDING, with_padding
from attrib_core.attribution.subject import Subject


def occlusion(subject: Subject) -> Tensor:
    """target(image) − target(image with a window blackened), averaged over the windows that cover a pixel.

    Zeiler and Fergus 2013, arXiv:1311.2901. Windows stand `stride` apart from the upper left corner; those at the
    far borders may be cut off. All channels are blackened, and share their attribution.
    """
    height, width = subject.images.shape[-2:]
    size, stride = subject.settings.window(height, width)
    rows, columns = (coverage(side, size, stride).to(subject.images) for side in (height, width))
    differences = _differences(subject, rows.bool(), columns.bool(), (size, stride))
    spread = rows.T @ differences.view(-1, len(rows), len(columns)) @ columns
    mean = spread / torch.outer(rows.sum(0), columns.sum(0))
    return mean[:, None].expand_as(subject.images)


def occlusion_gradient_x_input(subject: Subject) -> Tensor:
    """(occlusion + gradient × input) / 2, each divided by its largest absolute value in the image.

    Not by the largest value: where that is negative, dividing by it would turn the sign round. What is zero
    everywhere stays zero.
    """
    return (_normed(subject.once(occlusion)) + _normed(gradient_x_input(subject))) / 2


def coverage(side: int, size: int, stride: int) -> Tensor:
    """`[G, side]`: 1 where the window at one of G places along a side covers a pixel."""
    starts = stride * torch.arange(-(-(side - size) // stride) + 1)[:, None]
    pixels = torch.arange(side)
    return ((pixels >= starts) & (pixels < starts + size)).float()


def _differences(subject: Subject, rows: Tensor, columns: Tensor, window: tuple[int, int]) -> Tensor:
    """target(image) − target(occluded image), `[B, G · G']`."""
    touched = _touched(subject.images, *window)
    pairs = with_padding(touched).nonzero()  # [N, 2], image by image
    # The last entry is a window of nothing, which stands for padding.
    nothing = touched.shape[1]
    rows_of = torch.cat([rows.repeat_interleave(len(columns), 0), torch.zeros_like(rows[:1])])
    columns_of = torch.cat([columns.repeat(len(rows), 1), torch.zeros_like(columns[:1])])
    clean = subject.explained(subject.logits, slice(None))

    def run(part: range) -> Tensor:
        image, place = pairs[part.start : part.stop].unbind(1)
        place = place.clamp(max=nothing)
        hidden = rows_of[place][:, None, :, None] & columns_of[place][:, None, None, :]
        logits = subject.model.logits(subject.images[image].masked_fill_(hidden, 0))
        return clean[image] - subject.explained(logits, image)

    differences = clean.new_zeros(len(touched), nothing + NUM_PADDING)
    if len(pairs):
        differences[pairs[:, 0], pairs[:, 1]] = torch.cat(subject.model.in_passes(len(pairs), run))
    return differences[:, :nothing]


def _touched(images: Tensor, size: int, stride: int) -> Tensor:
    """Which windows cover anything to blacken, `[B, G · G']`: for the others the difference is exactly 0."""
    brightest = F.max_pool2d(images.amax(1, keepdim=True), size, stride, ceil_mode=True)
    return brightest.flatten(1) > 0


def _normed(values: Tensor) -> Tensor:
    largest = values.abs().amax((1, 2, 3), keepdim=True)
    return torch.where(largest == 0, 0.0, values / largest)
