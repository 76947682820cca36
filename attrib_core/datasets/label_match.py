"""The class of a classifier that each class of a data set means, and by which reading of its names."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attrib_core.classifiers import Classifier
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.label_names import is_numbered

NO_CLASS = -1  # of a class that has no images here, such as one of a test split that lacks it
NUM_EXAMPLES = 3
NUM_FEW = 5  # classes that are all named


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMatch:
    """The class index of each class of a data set, and by which reading it was found."""

    class_names: tuple[str, ...]  # the data set's
    table: NDArray[np.int64]  # the classifier's class index of each; -1 for one without images or a match
    reading: str

    def labels(self, dataset: Dataset) -> NDArray[np.int64]:
        """Return the labels `[N]` as the classifier counts classes, always a copy."""
        return self.table[dataset.labels]

    @property
    def digest(self) -> str:
        """SHA-256 over names and class indexes, as hexadecimal."""
        pairs = list(zip(self.class_names, self.table.tolist(), strict=True))
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()

    def describe(self, classifier: Classifier) -> str:
        """Return the line that tells the user how labels are read, with three examples or all of few classes."""
        matched = np.flatnonzero(self.table != NO_CLASS).tolist()
        all_of_few = len(matched) <= NUM_FEW
        rows = matched if all_of_few else matched[:NUM_EXAMPLES]
        examples = ", ".join(f"{self.class_names[row]!r} is {self._class(classifier, row)}" for row in rows)
        more = "" if all_of_few else ", ..."
        return f"labels: {self.reading}: {examples}{more}"

    def _class(self, classifier: Classifier, row: int) -> str:
        index = int(self.table[row])
        name = "" if is_numbered(classifier.identity.labels) else f" {classifier.class_names[index]!r}"
        return f"class {index}{name}"


def match_of(dataset: Dataset, table: Sequence[int], reading: str) -> LabelMatch:
    """Return a match whose table has a class index for each class of a data set."""
    return LabelMatch(class_names=dataset.class_names, table=np.array(table, dtype=np.int64), reading=reading)
