"""Which class each image belongs to: how labels are read, if that can be right, and what is recorded of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attrib_core.classifiers import Classifier
from attrib_core.datasets import Dataset, LabelMatch, LabelOrder, match_labels, read_label_file
from attrib_core.datasets.label_names import is_numbered
from attrib_core.datasets.probing import Probe


@dataclass(frozen=True)
class LabelChoice:
    """What the user says about labels: a file that maps them, or how to read them; nothing in most cases."""

    file: Path | None = None
    order: LabelOrder | None = None

    def __post_init__(self) -> None:
        if self.file is not None and self.order is not None:
            raise ValueError("--labels and --label-order: accepted is one of them")


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """How a data set's labels are read for a classifier; `notes` are for the user before work starts."""

    match: LabelMatch
    class_names: tuple[str, ...]  # of the classifier's classes; the data set's where it has none
    settings: dict[str, Any]  # for sweep.json: a run directory refuses another mapping
    notes: tuple[str, ...]
    provenance: dict[str, Any]  # for sweep.json


def label_images(
    dataset: Dataset, classifier: Classifier, choice: LabelChoice, tried: Probe, *, is_trained: bool
) -> Labelling:
    """Find out which class each label is, and compare with predictions. Raises ValueError as `match_labels`."""
    mapping = None if choice.file is None else read_label_file(choice.file, dataset, classifier)
    match = match_labels(dataset, classifier, order=choice.order, mapping=mapping, probe=lambda: tried)
    labels = match.labels(dataset)
    if is_trained and choice == LabelChoice():
        _refuse_counted_from_one(dataset, classifier, labels, tried)
    line = match.describe(classifier)
    accuracy = (
        f"{classifier.name} on {len(tried.indices)} of {len(dataset):,} images of {dataset.name}/{dataset.split}: "
        f"{tried.describe(labels)}"
    )
    provenance: dict[str, Any] = {"labels": line, "accuracy": accuracy}
    notes = [*dataset.notes, line, accuracy]
    if is_trained and tried.is_no_better_than_chance(labels, classifier.num_classes):
        warning = (
            f"{accuracy}: no better than chance. The images may have another size or scaling than in training "
            "(--image-size, --mean, --std), the labels may be read wrongly (--labels, --label-order), or the "
            "weights do not belong to this model"
        )
        provenance["warnings"] = [warning]
        notes.append(f"warning: {warning}")
    return Labelling(
        match=match,
        class_names=_class_names(match, classifier),
        settings={} if _is_as_before(dataset, classifier, labels) else {"label_digest": match.digest},
        notes=tuple(notes),
        provenance=provenance,
    )


def _refuse_counted_from_one(
    dataset: Dataset, classifier: Classifier, labels: NDArray[np.int64], tried: Probe
) -> None:
    """Raise ValueError for class indexes that predictions fit only if they count from 1."""
    used = {dataset.class_names[label] for label in np.unique(dataset.labels)}
    if not all(name.isdigit() for name in used) or labels.min() < 1:
        return
    fits, fits_from_one = (
        not tried.is_no_better_than_chance(each, classifier.num_classes) for each in (labels, labels - 1)
    )
    if fits_from_one and not fits:
        raise ValueError(
            f"{dataset.name}: its labels are {labels.min()} to {labels.max()}; on {len(tried.indices)} images "
            f"{tried.describe(labels)} as class indexes, {tried.describe(labels - 1)} if they count from 1; "
            "accepted are --label-order index, or --labels FILE with the class index of each label"
        )


def _class_names(match: LabelMatch, classifier: Classifier) -> tuple[str, ...]:
    """Return the names of the classifier's classes; those of the data set where it has only numbers."""
    if not is_numbered(classifier.identity.labels):
        return classifier.class_names
    names: dict[int, list[str]] = {}
    for name, index in zip(match.class_names, match.table.tolist(), strict=True):
        names.setdefault(index, []).append(name)
    return tuple(" / ".join(names.get(row, [number])) for row, number in enumerate(classifier.class_names))


def _is_as_before(dataset: Dataset, classifier: Classifier, labels: NDArray[np.int64]) -> bool:
    """Return True if labels are those of versions that recorded nothing about them.

    These matched exact names, all or none, and took labels unchanged otherwise. Their run directories go on.
    """
    before = dataset.labels
    for known in (classifier.wnids, classifier.class_names):
        if set(dataset.class_names) <= set(known) and len(set(known)) == len(known):
            before = np.array([known.index(name) for name in dataset.class_names])[dataset.labels]
            break
    return bool(np.array_equal(before, labels))
