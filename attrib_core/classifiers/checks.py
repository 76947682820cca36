"""What a classifier can be asked about, and whether it answers with logits; each check is a clear ValueError."""

import torch
from torch import Tensor

from attrib_core.classifiers.classifier import Classifier


def check_images(classifier: Classifier, images: Tensor) -> None:
    """ValueError for images that are not `[B, C, H, W]` in [0, 1], of the classifier's channels, B from 1."""
    if images.ndim != 4 or images.shape[1] != classifier.channels or not len(images):
        raise ValueError(
            f"images {list(images.shape)}: {classifier.name} takes [B, {classifier.channels}, H, W], B from 1"
        )
    if not images.is_floating_point():
        raise ValueError(f"images: dtype {images.dtype}; accepted is floating point in [0, 1]")
    low, high = images.aminmax()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise ValueError(
            f"images: values from {low.item():g} to {high.item():g}; accepted are those in [0, 1]"
        )


def check_classes(name: str, classes: Tensor, count: int, num_classes: int) -> None:
    """ValueError for what is no class index of each of `count` images; `name` is what the message calls it."""
    if classes.shape != (count,) or classes.is_floating_point():
        raise ValueError(f"{name}: {classes.dtype} {list(classes.shape)}; accepted are integers [{count}]")
    wrong = (classes < 0) | (classes >= num_classes)
    if wrong.any():
        position = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name}: {classes[position].item()} at position {position}; accepted are 0 to {num_classes - 1}"
        )


def check_logits(logits: Tensor, name: str) -> None:
    """ValueError for what is no logits: NaN, or probabilities, whose gradients vanish where a model is sure."""
    if not logits.isfinite().all():
        raise ValueError(f"{name}: its logits hold NaN or infinite values")
    sums = logits.sum(1)
    if (
        len(logits[0]) > 1
        and bool((logits >= 0).all())
        and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    ):
        raise ValueError(f"{name}: its outputs are probabilities; accepted are logits, before the softmax")
