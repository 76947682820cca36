"""Labels as people write them: integers of any kind, whole floats, class names, one-hot vectors."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from attrib_core.datasets.items import ItemError
from attrib_core.datasets.label_names import plain, without_twins
from attrib_core.datasets.parquet_shards import MAX_NUMBERED_CLASSES, UNLABELLED

LABEL_FORMS = "an integer from 0, a class name, or a one-hot vector"


class LabelReader:
    """The labels of a data set, one after the other, and the names of their classes.

    `class_names` are the data set's own, in the order of their numbers; None if it has none.
    """

    def __init__(self, class_names: tuple[str, ...] | None) -> None:
        self._names = class_names
        self._labels: list[int | str | None] = []
        self._first: int | str | None = None
        self._widths: set[int] = set()  # of one-hot vectors
        self._has_floats = False

    def add(self, value: Any) -> None:
        """Read the next image's label. Raises ItemError for what is no label."""
        label = self._read(value)
        if self._first is None:
            self._first = label
        if isinstance(self._first, str) != isinstance(label, str):
            raise ItemError(f"its label is {label!r}, an earlier one {self._first!r}; accepted is one kind")
        self._labels.append(label)

    def skip(self) -> None:
        """Leave the label of an image open that cannot be read; it gets the first label, and no row."""
        self._labels.append(None)

    def finish(self) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
        """Return labels `[N]`, class names, and what a user should know of how labels were read.

        Raises ItemError for labels that do not fit the class names.
        """
        known = [self._first if label is None else label for label in self._labels]
        if isinstance(self._first, str):
            return self._named([str(label) for label in known])
        labels = np.array(known, dtype=np.int64)
        notes = ["labels are floats, all of them integers"] if self._has_floats else []
        if self._widths:
            notes.append("labels are one-hot vectors")
        if self._names is None:
            return *self._numbered(labels), tuple(notes)
        if self._widths and self._widths != {len(self._names)}:
            raise ItemError(
                f"one-hot labels of {_listed(self._widths)} classes, but the data set names {len(self._names)}"
            )
        if labels.min() == 1 and labels.max() == len(self._names):
            labels -= 1
            notes.append(f"labels count from 1 to {len(self._names)}; read as 0 to {len(self._names) - 1}")
        if labels.max() >= len(self._names):
            row = int(labels.argmax())
            raise ItemError(
                f"image {row}: its label is {labels[row]}; accepted are 0 to {len(self._names) - 1}, since the "
                f"data set names {len(self._names)} classes"
            )
        return labels, self._names, tuple(notes)

    def _named(self, labels: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
        called = without_twins({*labels, *(self._names or ())})
        known = self._names or tuple(sorted({called[label] for label in labels}))
        positions = {called.get(name, name): index for index, name in enumerate(known)}
        for row, label in enumerate(labels):
            if called[label] not in positions:
                raise ItemError(
                    f"image {row}: its label is {label!r}; the data set's classes are {_listed(known)}"
                )
        return (
            np.array([positions[called[label]] for label in labels], np.int64),
            known,
            ("labels are class names",),
        )

    def _numbered(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return labels and numbers as class names: as many as one-hot vectors are long, else up to the last.

        Labels that count from 1 keep their numbers as names, by which a classifier's classes are found.
        """
        if len(self._widths) > 1:
            raise ItemError(f"one-hot labels of {_listed(self._widths)} classes; accepted is one length")
        count = next(iter(self._widths)) if self._widths else int(labels.max()) + 1
        if count > MAX_NUMBERED_CLASSES:
            row = int(labels.argmax())
            raise ItemError(
                f"image {row}: its label is {labels[row]}; accepted are less than {MAX_NUMBERED_CLASSES} where "
                "the data set names no classes"
            )
        first = 1 if not self._widths and labels.min() == 1 else 0
        return labels - first, tuple(str(number) for number in range(first, count))

    def _read(self, value: Any) -> int | str:
        label = _python_value(value)
        if isinstance(label, list | tuple):
            return self._one_hot(label)
        if isinstance(label, str):
            if not plain(label):
                raise ItemError(f"its label is {label!r}; accepted is {LABEL_FORMS}")
            return label
        if label is None or (isinstance(label, float) and math.isnan(label)):
            raise ItemError(f"it has no label ({label}); accepted are images with labels")
        if isinstance(label, float):
            if not label.is_integer():
                raise ItemError(f"its label is {label!r}; accepted is {LABEL_FORMS}")
            self._has_floats = True
        elif not isinstance(label, int):
            raise ItemError(f"its label is of type {type(label).__name__}; accepted is {LABEL_FORMS}")
        number = int(label)
        if number < 0:
            remedy = " (unlabelled); accepted are images with labels" if number == UNLABELLED else ""
            raise ItemError(f"its label is {number}{remedy or f'; accepted is {LABEL_FORMS}'}")
        return number

    def _one_hot(self, values: Sequence[Any]) -> int:
        ones = [place for place, value in enumerate(values) if value == 1]
        if len(ones) != 1 or any(value != 0 for place, value in enumerate(values) if place != ones[0]):
            raise ItemError(f"its label is a list of {len(values)}; accepted is {LABEL_FORMS}")
        self._widths.add(len(values))
        return ones[0]


def class_names_of(items: Any) -> tuple[str, ...] | None:
    """Return the class names that a data set has, also inside of torch's Subset and ConcatDataset; else None.

    Raises ItemError for parts that name different classes, and for numbers of classes that leave gaps.
    """
    if isinstance(items, Subset):
        return class_names_of(items.dataset)
    if isinstance(items, ConcatDataset):
        found = {names for part in items.datasets if (names := class_names_of(part)) is not None}
        if len(found) > 1:
            raise ItemError("the parts of its ConcatDataset name different classes; accepted are equal ones")
        return next(iter(found), None)
    names = getattr(items, "classes", None)
    if (
        isinstance(names, list | tuple)
        and names
        and all(isinstance(name, str | list | tuple) for name in names)
    ):
        # torchvision's ImageNet has a tuple of synonyms for each class.
        return tuple(name if isinstance(name, str) else ", ".join(map(str, name)) for name in names)
    numbers = getattr(items, "class_to_idx", None)
    if isinstance(numbers, Mapping) and numbers:
        if sorted(numbers.values()) != list(range(len(numbers))):
            raise ItemError(f"its class_to_idx has {len(numbers)} names, but not the numbers from 0 on")
        return tuple(str(name) for name in sorted(numbers, key=lambda name: int(numbers[name])))
    return _feature_names(items)


def targets_of(items: Any) -> Sequence[Any] | None:
    """Return the list of labels that a data set has beside its items, also inside of torch's Subset; else None."""
    if isinstance(items, Subset):
        targets = targets_of(items.dataset)
        return None if targets is None else [targets[index] for index in items.indices]
    found = next(
        (each for name in ("targets", "labels") if (each := getattr(items, name, None)) is not None), None
    )
    return found if hasattr(found, "__len__") and hasattr(found, "__getitem__") else None


def _feature_names(items: Any) -> tuple[str, ...] | None:
    """Return the names of the only ClassLabel of a data set of Hugging Face's."""
    features = getattr(items, "features", None)
    values = features.values() if isinstance(features, Mapping) else ()
    found = [tuple(map(str, each.names)) for each in values if getattr(each, "names", None)]
    return found[0] if len(found) == 1 else None


def _python_value(value: Any) -> Any:
    """Return a tensor's, an array's or a list's content as Python's; of a single value only that."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return value


def _listed(values: Any, count: int = 10) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:count]) + (f" and {len(texts) - count} more" if len(texts) > count else "")
