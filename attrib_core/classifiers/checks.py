"""Checks of a classifier's inputs and outputs; each raises a ValueError that says what is accepted."""

import operator
from collections.abc import Iterable
from typing import TypeGuard

import torch
from torch import Tensor

from attrib_core.classifiers.classifier import Classifier


def check_tensor(name: str, value: object) -> None:
    """Raise ValueError for what is no tensor; `name` is what the message calls it."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: a {type(value).__name__}; accepted is a torch.Tensor")


def whole_numbers(name: str, values: object) -> list[int]:
    """Return the whole numbers in a list, range, array or tensor; ValueError for anything else in its place."""
    found = [as_whole_number(value) for value in values] if _is_listing(values) else [None]
    numbers = [number for number in found if number is not None]
    if len(numbers) < len(found):
        raise ValueError(f"{name}: {values!r}; accepted is a list of whole numbers, such as [1, 2]")
    return numbers


def _is_listing(values: object) -> TypeGuard[Iterable[object]]:
    return isinstance(values, Iterable) and not isinstance(values, str)


def as_whole_number(value: object) -> int | None:
    """Return a whole number as Python's own, also that of an array or a tensor; None for anything else."""
    is_boolean = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
    if is_boolean or not hasattr(value, "__index__"):
        return None
    try:
        return operator.index(value)
    except TypeError:  # a tensor of floats, or of several numbers
        return None


def check_images(classifier: Classifier, images: Tensor) -> None:
    """Raise ValueError unless images are `[B, C, H, W]` in [0, 1] with the classifier's channels and B ≥ 1."""
    check_tensor("images", images)
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
    """Raise ValueError unless `classes`, called `name` in messages, are class indices of `count` images."""
    check_tensor(name, classes)
    if classes.shape != (count,) or classes.is_floating_point() or classes.dtype == torch.bool:
        raise ValueError(f"{name}: {classes.dtype} {list(classes.shape)}; accepted are integers [{count}]")
    wrong = (classes < 0) | (classes >= num_classes)
    if wrong.any():
        position = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name}: {classes[position].item()} at position {position}; accepted are 0 to {num_classes - 1}"
        )


def check_logits(logits: Tensor, name: str) -> None:
    """Raise ValueError for NaN, and for probabilities: their gradients vanish where a model is confident."""
    if not logits.isfinite().all():
        raise ValueError(f"{name}: its logits hold NaN or infinite values")
    sums = logits.sum(1)
    if (
        len(logits[0]) > 1
        and bool((logits >= 0).all())
        and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    ):
        raise ValueError(f"{name}: its outputs are probabilities; accepted are logits, before the softmax")
