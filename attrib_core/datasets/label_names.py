"""The names under which a classifier's classes are found in other people's data sets."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from attrib_core.classifiers import Classifier, Labels

_SEPARATORS = re.compile(r"[\s_,./'\u2019()\u2010-\u2015-]+")
# Between two digits a separator says something: `1-5` is not `15`.
_MEANINGLESS = re.compile(r"(?<!\d)_|_(?!\d)")
_WNID = re.compile(r"(n\d{8})(?:[-_ .].*)?")  # alone, or before a name: `n02085620-Chihuahua`

Candidates = frozenset[int]


def plain(name: str) -> str:
    """Return a name in one form of Unicode and with plain spaces: macOS writes `é` in two characters.

    Full-width letters are letters, a no-break space is a space, and what has no width is nothing.
    """
    text = unicodedata.normalize("NFKC", name)
    return " ".join("".join(each for each in text if unicodedata.category(each) != "Cf").split())


def without_twins(names: Iterable[str]) -> dict[str, str]:
    """Return what each name is called: itself, or its plain form where that of several names is the same."""
    names = set(names)
    counts = Counter(map(plain, names))
    return {name: name if counts[plain(name)] == 1 else plain(name) for name in names}


def normalised(name: str) -> str:
    """Return a name without case, spaces, underscores, hyphens and other separators."""
    text = unicodedata.normalize("NFKC", plain(name).casefold())
    return _MEANINGLESS.sub("", _SEPARATORS.sub("_", text))


def wnid_of(name: str) -> str | None:
    """Return the WordNet id at the beginning of a name; None if there is none."""
    found = _WNID.fullmatch(name)
    return found[1] if found else None


def is_numbered(labels: Labels) -> bool:
    """Return True for classes without names of their own, which are called "0", "1" and so on."""
    return labels.class_names == Labels.numbered(len(labels.class_names)).class_names


@dataclass(frozen=True)
class Vocabulary:
    """All names of a classifier's classes: each class's own, and synonyms.

    ImageNet's classes have several: torchvision's, WordNet's list of synonyms, and the first one of that list.
    """

    classifier: Classifier
    own: dict[str, Candidates] = field(init=False, repr=False)
    synonyms: dict[str, Candidates] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        own: list[tuple[str, int]] = []
        synonyms: list[tuple[str, int]] = []
        for index, texts in enumerate(zip(self.classifier.class_names, *self._lemmas, strict=True)):
            for text in texts:
                first, *others = text.split(",")
                own += [(text, index), (first, index)]
                synonyms += [(other, index) for other in others]
        object.__setattr__(self, "own", _by_name(own))
        object.__setattr__(self, "synonyms", _by_name(synonyms))

    @cached_property
    def _lemmas(self) -> Sequence[Sequence[str]]:
        """WordNet's synonyms of each class, if the classifier has WordNet ids."""
        if not self.classifier.wnids:
            return []
        from timm.data.imagenet_info import ImageNetInfo  # here, because the import is slow

        information = ImageNetInfo("imagenet-1k")
        return [[_lemma(information, wnid) or wnid for wnid in self.classifier.wnids]]

    def candidates(self, name: str) -> Candidates:
        """Return the classes that a name may mean. A class's own name comes before another one's synonym."""
        whole = normalised(name)
        found = self.own.get(whole) or self.synonyms.get(whole)
        if found or "," not in name:
            return found or frozenset()
        parts = [normalised(part) for part in name.split(",")]
        return frozenset().union(
            *(self.own.get(part) or self.synonyms.get(part) or frozenset() for part in parts)
        )

    def resolve(self, names: Sequence[str]) -> list[Candidates]:
        """Return the candidates of each name, fewer where the other names decide."""
        found = [self.candidates(name) for name in names]
        spelled, present = self.classifier.class_names, set(names)
        for row, classes in enumerate(found):
            # `cardigan` and `Cardigan` are told apart where the data set has both.
            if len(classes) > 1 and {spelled[each] for each in classes} <= present:
                found[row] = frozenset(each for each in classes if spelled[each] == names[row]) or classes
        certain = {each for classes in found if len(classes) == 1 for each in classes}
        return [classes - certain if len(classes) > 1 else classes for classes in found]


def _lemma(information: Any, wnid: str) -> str | None:
    """Return WordNet's synonyms for an id, comma-separated; None for an id that it does not have."""
    try:
        return str(information.label_name_to_description(wnid))
    except KeyError:
        return None


def _by_name(pairs: Iterable[tuple[str, int]]) -> dict[str, Candidates]:
    classes: dict[str, set[int]] = {}
    for name, index in pairs:
        if key := normalised(name):  # punctuation alone is no name
            classes.setdefault(key, set()).add(index)
    return {key: frozenset(found) for key, found in classes.items()}
