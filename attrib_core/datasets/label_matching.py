"""Which class of a classifier a label of a data set means.

A data set's classes have names: of folders, or from a Parquet file. They are read in this order, each reading
for all of them or none: WordNet ids; the names of the classifier's classes, case, separators and synonyms aside;
whole numbers as class indexes; the order in which they stand, as class indexes. Where none fits, or two fit and
differ, the user is asked.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from attrib_core.classifiers import Classifier, Labels
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.label_names import Vocabulary, is_numbered, wnid_of
from attrib_core.datasets.probing import Probe, probe_dataset
from attrib_core.datasets.splits import shortened

LabelOrder = Literal["names", "index", "sorted"]
MEANINGS: dict[LabelOrder, str] = {
    "names": "names of the classes",
    "index": "class indexes",
    "sorted": "places in the order of the names as text, as torchvision's ImageFolder counts",
}
NO_CLASS = -1  # of a class that has no images here, such as one of a test split that lacks it
NUM_EXAMPLES = 3
NUM_FEW = 5  # classes that are all named
# The order is taken for names that match nothing where so many of all match, each in its own place.
ENOUGH_MATCHES = 0.9


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMatch:
    """The class index of each class of a data set, and by which reading it was found."""

    class_names: tuple[str, ...]  # the data set's
    table: NDArray[
        np.int64
    ]  # the classifier's class index of each of them; -1 for one without images or a match
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
        return _match(dataset, [mapping[name] for name in dataset.class_names], "as --labels says")
    if (count := len(np.unique(dataset.labels))) > classifier.num_classes:
        raise ValueError(_too_many(dataset, count, classifier))
    readings = _Readings(dataset, classifier)
    if order is not None:
        return readings.ordered(order)
    return readings.automatic(probe or (lambda: probe_dataset(dataset, classifier)))


class _Readings:
    """The ways in which a data set's class names can be read for a classifier."""

    def __init__(self, dataset: Dataset, classifier: Classifier) -> None:
        self.dataset, self.classifier = dataset, classifier
        self.names = dataset.class_names
        with_images = set(np.unique(dataset.labels).tolist())
        self.has_images = [row in with_images for row in range(len(self.names))]
        self.has_own_names = not is_numbered(classifier.identity.labels)
        self.failures: list[tuple[int, str]] = []  # how many names a reading does not understand, and which

    def ordered(self, order: LabelOrder) -> LabelMatch:
        """Return the one reading that is asked for."""
        if order == "sorted":
            return self._in_order("in the order in which they stand")
        if order == "names" and not self.has_own_names:
            raise ValueError(
                f"label_order='names': the classes of {self.classifier.name} have no names; "
                "accepted are index, sorted, or --labels FILE"
            )
        found = self._by_name() if order == "names" else self._by_index()
        if found is None:
            raise ValueError(self._refusal())
        return found

    def automatic(self, probe: Callable[[], Probe]) -> LabelMatch:
        """Return the first reading that fits."""
        named, indexed = self._by_name(), self._by_index()
        if named is not None:
            # Labels without names are called "0", "1", ... too, and then they are no names.
            might_be_indexes = indexed is not None and _is_counted(self.names)
            return self._only({"names": named, "index": indexed if might_be_indexes else None}, probe)
        if self._stands_in_order() and self.has_own_names:
            return self._in_order(f"most are names of {self.classifier.name}'s classes, all in its order")
        if indexed is not None:
            are_as_many = len(self.names) == self.classifier.num_classes
            return self._only(
                {"index": indexed, "sorted": self._in_order("") if are_as_many else None}, probe
            )
        if self._stands_in_order():
            return self._in_order(
                f"as many as classes of {self.classifier.name}, so taken in the order in which they stand"
            )
        raise ValueError(self._refusal())

    def _by_name(self) -> LabelMatch | None:
        wnids, names = self.classifier.wnids, self.classifier.class_names
        if wnids:
            known = {wnid: index for index, wnid in enumerate(wnids)}
            spelled = [name if name in known else wnid_of(name) for name in self.names]
            found = [frozenset([known[each]] if each in known else ()) for each in spelled]
            if match := self._all_or_none(found, "WordNet ids"):
                return match
        elif self.has_own_names and set(self.names) <= set(names) and len(set(names)) == len(names):
            exact = [names.index(name) for name in self.names]
            return _match(self.dataset, exact, "names of the classes")
        if not self.has_own_names:
            return None
        self.found = Vocabulary(self.classifier).resolve(self.names)
        return self._all_or_none(self.found, "names of the classes")

    def _all_or_none(self, found: Sequence[frozenset[int]], reading: str) -> LabelMatch | None:
        """Return a match of names that mean one class each, and each another one."""
        unknown = [
            name
            for name, classes, has_images in zip(self.names, found, self.has_images, strict=True)
            if has_images and not classes
        ]
        if unknown:
            self._fail(unknown, f"match nothing as {reading}", len(unknown))
            return None
        if several := [row for row, classes in enumerate(found) if len(classes) > 1]:
            name, classes = self.names[several[0]], sorted(found[several[0]])
            self._fail(
                [self.names[row] for row in several],
                f"can be more than one class: {name!r} is {', '.join(map(str, classes))}",
            )
            return None
        table = [next(iter(classes), NO_CLASS) for classes in found]
        counts = Counter(index for index in table if index != NO_CLASS)
        if twice := [name for name, index in zip(self.names, table, strict=True) if counts[index] > 1]:
            self._fail(twice, f"mean the same class as others, as {reading}")
            return None
        return _match(self.dataset, table, reading)

    def _by_index(self) -> LabelMatch | None:
        limit = self.classifier.num_classes
        found = [
            frozenset([int(name)] if name.isascii() and name.isdigit() and int(name) < limit else ())
            for name in self.names
        ]
        return self._all_or_none(found, f"class indexes from 0 to {limit - 1}")

    def _in_order(self, reading: str) -> LabelMatch:
        if len(self.names) > self.classifier.num_classes:
            raise ValueError(_too_many(self.dataset, len(self.names), self.classifier))
        return _match(self.dataset, range(len(self.names)), reading)

    def _stands_in_order(self) -> bool:
        """Return True if there are as many names as classes, and nothing speaks against the order."""
        if len(self.names) != self.classifier.num_classes:
            return False
        if not self.has_own_names:
            return _numbers_increase(self.names)
        matching = [row for row, classes in enumerate(self.found) if len(classes) == 1]
        in_place = all(row in classes for row, classes in enumerate(self.found) if classes)
        return in_place and len(matching) >= ENOUGH_MATCHES * len(self.names)

    def _fail(self, names: Sequence[str], problem: str, num_unknown: int = 0) -> None:
        """Remember why a reading does not fit, and how many names it does not know at all."""
        of_all = f"{len(names)} of {len(self.names)} class names"
        self.failures.append((num_unknown, f"{of_all}, {shortened(names)}, {problem}"))

    def _refusal(self) -> str:
        """Return the message about the reading that knows the most names."""
        num_unknown, problem = min(self.failures, key=lambda failure: failure[0])
        if num_unknown == len(self.names):
            problem = f"none of {len(self.names)} class names, {shortened(self.names)}, matches anything"
        return (
            f"{self.dataset.name}: {problem}; accepted are {self._accepted()}, or --labels FILE{self._from_one()}"
            ", or --label-order sorted for the order in which they stand"
        )

    def _from_one(self) -> str:
        """Return a remark on labels that may count from 1."""
        used = [name for name, has_images in zip(self.names, self.has_images, strict=True) if has_images]
        count_from_one = sorted(used) == sorted(str(row + 1) for row in range(self.classifier.num_classes))
        return " with the index of each, if they count from 1" if count_from_one else ""

    def _accepted(self) -> str:
        numbers = f"class indexes from 0 to {self.classifier.num_classes - 1}"
        if not self.has_own_names:
            return f"{numbers}, or {self.classifier.num_classes} classes in {self.classifier.name}'s order"
        wnids = "WordNet ids, " if self.classifier.wnids else ""
        known = shortened(self.classifier.class_names)
        return f"{wnids}names of {self.classifier.name}'s classes such as {known}, {numbers}"

    def _only(
        self, possible: Mapping[LabelOrder, LabelMatch | None], probe: Callable[[], Probe]
    ) -> LabelMatch:
        """Return the first reading; ValueError with the accuracy under each if another one differs from it."""
        readings = {order: match for order, match in possible.items() if match is not None}
        first = next(iter(readings.values()))
        differing = [
            row
            for each in readings.values()
            for row in np.flatnonzero((each.table != first.table) & self.has_images)
        ]
        if not differing:
            return first
        row, tried = int(differing[0]), probe()
        described = "; ".join(
            f"--label-order {order} ({MEANINGS[order]}: {self.names[row]!r} is class {match.table[row]}) has "
            f"{tried.describe(match.labels(self.dataset))}"
            for order, match in readings.items()
        )
        raise ValueError(
            f"{self.dataset.name}: its classes are called by numbers, which can be read in two ways. "
            f"On {len(tried.indices)} images {described}; accepted are these two, or --labels FILE"
        )


def _too_many(dataset: Dataset, count: int, classifier: Classifier) -> str:
    return f"{dataset.name} has {count} classes, {classifier.name} only {classifier.num_classes}"


def _is_counted(names: Sequence[str]) -> bool:
    return tuple(names) == Labels.numbered(len(names)).class_names


def _numbers_increase(names: Sequence[str]) -> bool:
    """Return False where the order of numbers as text is not their own: `10_mole` stands before `2_dog`.

    Bare numbers beside other names are in order if each is its own place.
    """
    if sorted(names) == list(names) != sorted(names, key=_with_numbers):
        return False
    parts = [re.fullmatch(r"(\D*)(\d+)(\D*)", name) for name in names]
    if all(parts) and len({(part[1], part[3]) for part in parts if part}) == 1:
        numbers = [int(part[2]) for part in parts if part]
        return numbers == sorted(numbers)
    return all(int(name) == row for row, name in enumerate(names) if name.isascii() and name.isdigit())


def _with_numbers(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts if part]


def _match(dataset: Dataset, table: Sequence[int], reading: str) -> LabelMatch:
    return LabelMatch(class_names=dataset.class_names, table=np.array(table, dtype=np.int64), reading=reading)


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
