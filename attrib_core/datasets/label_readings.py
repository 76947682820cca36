"""The ways in which a data set's class names can be read for a classifier, and which of them is certain."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from attrib_core.classifiers import Classifier, Labels
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.label_match import NO_CLASS, LabelMatch, match_of
from attrib_core.datasets.label_names import Vocabulary, is_numbered, wnid_of
from attrib_core.datasets.probing import Probe
from attrib_core.datasets.splits import shortened

LabelOrder = Literal["names", "index", "sorted"]
MEANINGS: dict[LabelOrder, str] = {
    "names": "names of the classes",
    "index": "class indexes",
    "sorted": "places in the order of the names as text, as torchvision's ImageFolder counts",
}
# The order is taken for names that match nothing where so many of all match, each in its own place.
ENOUGH_MATCHES = 0.9


class Readings:
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
            return match_of(self.dataset, exact, "names of the classes")
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
        return match_of(self.dataset, table, reading)

    def _by_index(self) -> LabelMatch | None:
        limit = self.classifier.num_classes
        found = [
            frozenset([int(name)] if name.isascii() and name.isdigit() and int(name) < limit else ())
            for name in self.names
        ]
        return self._all_or_none(found, f"class indexes from 0 to {limit - 1}")

    def _in_order(self, reading: str) -> LabelMatch:
        if len(self.names) > self.classifier.num_classes:
            raise ValueError(too_many(self.dataset, len(self.names), self.classifier))
        return match_of(self.dataset, range(len(self.names)), reading)

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


def too_many(dataset: Dataset, count: int, classifier: Classifier) -> str:
    """Return what is said of a data set with more classes than the classifier."""
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
