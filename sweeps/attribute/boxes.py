"""Boxes of a data set on their way to the scores that need them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attrib_core.attribution import scores_named
from attrib_core.attribution.scores import check_boxes_given
from attrib_core.datasets import Dataset
from sweeps.images.inputs import ImageInputs


def definitions_of_boxes(dataset: Dataset, scores: Sequence[str]) -> dict[str, str]:
    """Return which boxes shape the scores, for sweep.json; none if no score needs boxes.

    Raises ValueError where a score needs boxes that the data set does not have.
    """
    needing = {name: score for name, score in scores_named(scores).items() if score.needs_boxes}
    check_boxes_given(needing, has_boxes=dataset.boxes is not None)
    return {"boxes": dataset.boxes.digest} if needing and dataset.boxes is not None else {}


def boxes_of(inputs: ImageInputs, indices: Sequence[int], scores: Sequence[str]) -> Tensor | None:
    """Return the boxes of images as the classifier sees them, `[B, n, 4]`; None if no score needs them."""
    boxes = inputs.dataset.boxes
    if boxes is None or not any(score.needs_boxes for score in scores_named(scores).values()):
        return None
    return torch.from_numpy(boxes.seen(indices, inputs.view))
