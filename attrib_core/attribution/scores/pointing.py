"""The pointing game: whether the most important pixel lies in a box around what the image shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attribution.scores.score import Columns, Scored

POINTING_HIT = "pointing_hit"


@dataclass(frozen=True, kw_only=True)
class PointingSettings:
    """Settings of the pointing game: by how many of the classifier's pixels a hit may miss its box."""

    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(f"tolerance={self.tolerance}: accepted are numbers from 0, in pixels")


def pointing_game(scored: Scored, settings: PointingSettings) -> Columns:
    """Return 1 where a map's largest pixel overlaps one of the image's boxes, else 0: `[B, M]`.

    Zhang et al. 2016, arXiv:1608.00507, who allow a tolerance of 15 pixels; here it is 0 unless it is given.
    Attributions are summed over channels; of equal pixels the first counts. NaN for images without boxes and for
    maps that are constant or not finite.
    """
    boxes = scored.boxes
    assert boxes is not None, "check_boxes_given"
    maps = [values.sum(1) for values in scored.support.values()]
    hits = torch.stack([_hits(each, boxes, settings.tolerance) for each in maps], 1)
    finite = torch.stack([each.isfinite().flatten(1).all(1) for each in maps], 1)
    has_boxes = boxes[..., 0].isfinite().any(1)
    defined = finite & ~scored.is_constant & has_boxes[:, None]
    return {POINTING_HIT: torch.where(defined, hits.float(), torch.nan)}


def padded_boxes(boxes: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Return the boxes `[n, 4]` of images of `shape` `[B, C, H, W]` as `[B, n, 4]`, with rows of NaN.

    Raises ValueError naming an image whose boxes are none, or reach beyond it.
    """
    if len(boxes) != shape[0]:
        raise ValueError(
            f"boxes: {len(boxes)} of them for {shape[0]} images; accepted is a tensor [n, 4] for each"
        )
    height, width = shape[-2:]
    padded = torch.full((shape[0], max((len(each) for each in boxes), default=0), 4), torch.nan)
    for number, (row, each) in enumerate(zip(padded, boxes, strict=True)):
        if not len(each):
            continue
        found = torch.as_tensor(each, dtype=torch.float32)
        if found.ndim != 2 or found.shape[1] != 4:
            raise ValueError(f"boxes: image {number} has {list(found.shape)}; accepted is [n, 4]")
        left, top, right, bottom = found.unbind(1)
        fits = (
            (left >= 0) & (left < right) & (right <= width) & (top >= 0) & (top < bottom) & (bottom <= height)
        )
        if not fits.all():
            wrong = found[~fits][0].tolist()
            raise ValueError(
                f"boxes: image {number} has {wrong}; accepted: left, top, right, bottom inside {width} x {height}"
            )
        row[: len(found)] = found
    return padded


def _hits(maps: Tensor, boxes: Tensor, tolerance: float) -> Tensor:
    """Return whether the first of the largest pixels of maps `[B, H, W]` overlaps a box: `[B]`."""
    flat = maps.flatten(1)
    places = torch.arange(flat.shape[1], device=flat.device)
    # `argmax` may return any of several.
    place = torch.where(flat == flat.amax(1, keepdim=True), places, flat.shape[1]).amin(1)
    row, column = (place // maps.shape[2])[:, None], (place % maps.shape[2])[:, None]
    left, top, right, bottom = boxes.unbind(2)
    # A pixel reaches from its number to the next one. NaN is in no box.
    across = (column < right + tolerance) & (column + 1 > left - tolerance)
    down = (row < bottom + tolerance) & (row + 1 > top - tolerance)
    return (across & down).any(1)
