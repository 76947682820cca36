"""Words of WordNet for a class: its synonyms, and the kinds of things that it belongs to.

`wordnet.tsv` beside this file holds the 1,000 classes of ImageNet and what is above them. A wnid of another class
is looked up in the list of synonyms that timm ships; its kinds stay unknown.
"""

import importlib.util
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

# The looser score: a kind may hold at most one in eight of the 1,000 classes. `dog` (118) and `bird` (59) say what
# a picture shows; `animal` (398) and `device` (130) do not.
LARGEST_KIND = 125


@dataclass(frozen=True, kw_only=True)
class Synset:
    """An entry of WordNet: its words, the wnids directly above it, and whether it is a class of ImageNet."""

    words: tuple[str, ...]
    above: tuple[str, ...]
    is_class: bool


def synonyms(wnid: str) -> tuple[str, ...]:
    """Return the words that WordNet has for a class; none for an unknown wnid."""
    if wnid in _synsets():
        return _synsets()[wnid].words
    words = timm_words().get(wnid, "")
    return tuple(word.strip() for word in words.split(",") if word.strip())


def kinds(wnid: str) -> tuple[str, ...]:
    """Return the words for what a class is one of, such as `dog` for a Labrador, up to `LARGEST_KIND`."""
    above = (name for name in _all_above(wnid) if _num_classes()[name] <= LARGEST_KIND)
    return tuple(word for name in above for word in _synsets()[name].words)


@cache
def timm_words() -> Mapping[str, str]:
    """Return the words of each wnid in timm's list, with commas between them; empty without timm."""
    found = importlib.util.find_spec("timm")
    for folder in (found and found.submodule_search_locations) or []:
        path = Path(folder) / "data" / "_info" / "imagenet_synset_to_lemma.txt"
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            return {wnid: words for wnid, tab, words in (line.partition("\t") for line in lines) if tab}
    return {}


def unknown_wnids(wnids: Iterable[str]) -> list[str]:
    """Return the wnids without any synonyms, sorted: guesses are held against their class names alone."""
    return sorted({wnid for wnid in wnids if wnid and not synonyms(wnid)})


@cache
def _synsets() -> Mapping[str, Synset]:
    text = resources.files("analysis.blind").joinpath("wordnet.tsv").read_text(encoding="utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")][1:]
    return {
        wnid: Synset(words=tuple(words.split(", ")), above=tuple(above.split()), is_class=index != "")
        for wnid, index, above, words in lines
    }


@cache
def _num_classes() -> Counter[str]:
    """Return how many classes lie below each synset."""
    classes = (wnid for wnid, synset in _synsets().items() if synset.is_class)
    return Counter(name for wnid in classes for name in _all_above(wnid))


def _all_above(wnid: str) -> Iterator[str]:
    """Yield each synset above this one, once, the nearest first."""
    waiting = list(_synsets()[wnid].above) if wnid in _synsets() else []
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            yield name
            waiting += _synsets()[name].above
