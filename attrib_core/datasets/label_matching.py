"""Which class of a classifier a label of a data set means.

A data set's classes have names: of folders, or from a Parquet file. They are read in this order, each reading
for all of them or none: WordNet ids; the names of the classifier's classes, case, separators and synonyms aside;
whole numbers as class indexes; the order in which they stand, as class indexes. Where none fits, or two fit and
differ, the user is asked.
"""

from collections.abc import Callable, Mapping
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from attrib_core.classifiers import Classifier
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.label_match import LabelMatch, match_of
from attrib_core.datasets.label_readings import LabelOrder, Readings, too_many
from attrib_core.datasets.probing import Probe, probe_dataset


def labels_for(
    dataset: Dataset,
    classifier: Classifier,
    *,
    order: LabelOrder | None = None,
    mapping: Mapping[str, int] | None = None,
) -> NDArray[np.int64]:
    """Return the data set's labels `[N]` as indices of a classifier's classes, always a copy.

    See `match_labels`, which also says how they were found.
    """
    return match_labels(dataset, classifier, order=order, mapping=mapping).labels(dataset)


def match_labels(
    dataset: Dataset,
    classifier: Classifier,
    *,
    order: LabelOrder | None = None,
    mapping: Mapping[str, int] | None = None,
    probe: Callable[[], Probe] | None = None,
) -> LabelMatch:
    """Return the class index of each class of a data set.

    `order` takes one reading without a question: `names`, `index` or `sorted` (the order in which the classes
    stand). `mapping` says the class index of each name (`read_label_file`). Raises ValueError for a label that
    no class has, names that match nothing or several classes, and numbers that can be read in two ways, with the
    accuracy under each on the images of `probe`.
    """
    _check_range(dataset)
    if order is not None and mapping is not None:
        raise ValueError("--labels and --label-order: accepted is one of them")
    if order is not None and order not in get_args(LabelOrder):
        raise ValueError(f"label_order={order!r}: accepted are {', '.join(get_args(LabelOrder))}")
    if mapping is not None:
        return match_of(dataset, [mapping[name] for name in dataset.class_names], "as --labels says")
    if (count := len(np.unique(dataset.labels))) > classifier.num_classes:
        raise ValueError(too_many(dataset, count, classifier))
    readings = Readings(dataset, classifier)
    if order is not None:
        return readings.ordered(order)
    return readings.automatic(probe or (lambda: probe_dataset(dataset, classifier)))


def _check_range(dataset: Dataset) -> None:
    num_classes = len(dataset.class_names)
    wrong = np.flatnonzero((dataset.labels < 0) | (dataset.labels >= num_classes)).tolist()
    if wrong:
        is_unlabelled = dataset.labels[wrong[0]] == -1
        remedy = "; -1 marks images without a label, so give a split with labels" if is_unlabelled else ""
        raise ValueError(
            f"{dataset.name}: image {wrong[0]} ({dataset.keys[wrong[0]]!r}) has label "
            f"{dataset.labels[wrong[0]]}, accepted are 0 to {num_classes - 1}{remedy}"
        )
