"""What counts as a right name for a class, and what a guess that is not right comes near to."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from analysis.blind.guesses import read_lines
from analysis.blind.wordnet import kinds, synonyms
from analysis.blind.words import canonical, single_names, split_words

Verdict = Literal["right", "kind", "wrong"]

# A share of equal letters from which a guess is shown as a slip of the pen: `flamigo`, `dalmation`.
_NEARLY = 0.8


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The names of a class, as they are read, and the forms that guesses are compared in."""

    names: tuple[str, ...]
    right: frozenset[str]
    kind: frozenset[str]

    def verdict(self, guess: str) -> Verdict:
        """Return whether a guess is a name of the class, a name of a kind it belongs to, or neither.

        The kind may follow the name, `papillon dog`, and words in brackets may explain it.
        """
        forms = {canonical(name) for name in single_names(guess)} | {canonical(guess)}
        with_kind = {form.removesuffix(kind) for form in forms for kind in self.kind if form.endswith(kind)}
        if self.right & (forms | with_kind):
            return "right"
        return "kind" if self.kind & forms else "wrong"

    def near_miss(self, guess: str) -> str:
        """Return what a person may want to decide about a guess that is not right; empty without anything."""
        by_form = {canonical(name): name for name in self.names}
        if nearly := difflib.get_close_matches(canonical(guess), by_form, n=1, cutoff=_NEARLY):
            return f"spelled nearly {by_form[nearly[0]]}"
        for name in self.names:
            if _holds(split_words(guess), split_words(name)):
                return f"holds {name}"
            if _holds(split_words(name), split_words(guess)):
                return f"a part of {name}"
        return ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a user says of a word for a class."""

    word: str
    verdict: Verdict


def answers_of(class_name: str, wnid: str, decisions: Iterable[Decision] = ()) -> Answers:
    """Return what counts for a class: its name, its synonyms in WordNet, and what a user has decided."""
    names = tuple(dict.fromkeys([*single_names(class_name), *synonyms(wnid)]))
    said: dict[str, set[str]] = {verdict: set() for verdict in get_args(Verdict)}
    for decision in decisions:
        said[decision.verdict].add(canonical(decision.word))
    right = ({canonical(name) for name in names} | said["right"]) - said["wrong"]
    kind = ({canonical(name) for name in kinds(wnid)} | said["kind"]) - said["wrong"]
    return Answers(names=names, right=frozenset(right), kind=frozenset(kind))


def read_decisions(path: Path, key: pd.DataFrame) -> dict[int, list[Decision]]:
    """Return the decisions of a file by class index, for the classes of the key.

    The file has the column `accepted`, a word a line, and `wnid` or `class_index`. If it has a column `counts_as`,
    that says `right`, `kind` or `wrong`, or nothing where the user has not decided. Raise ValueError for anything
    else.
    """
    class_of = dict(zip(key["wnid"], key["class_index"], strict=True))
    class_of |= {str(index): index for index in key["class_index"]}
    decisions: dict[int, list[Decision]] = {}
    for line in read_lines(path, ("accepted",)):
        name = line.cells.get("wnid") or line.cells.get("class_index")
        if not name:
            raise ValueError(
                f"{path}: line {line.number} has no class: give a column 'wnid' or 'class_index'"
            )
        counts_as = line.cells.get("counts_as", "right").lower()
        if counts_as not in ("", *get_args(Verdict)):
            raise ValueError(
                f"{path}: line {line.number} has counts_as {counts_as!r}; accepted: "
                f"{', '.join(get_args(Verdict))} or nothing"
            )
        if counts_as and name in class_of:
            decision = Decision(word=line.cells.get("accepted", ""), verdict=_verdict(counts_as))
            decisions.setdefault(class_of[name], []).append(decision)
    return decisions


def all_answers(key: pd.DataFrame, decisions: Mapping[int, Iterable[Decision]]) -> dict[int, Answers]:
    """Return the answers of each class of a key, by class index."""
    classes = key.drop_duplicates("class_index")
    return {
        index: answers_of(name, wnid, decisions.get(index, ()))
        for index, name, wnid in zip(
            classes["class_index"], classes["class_name"], classes["wnid"], strict=True
        )
    }


def _verdict(text: str) -> Verdict:
    return next(verdict for verdict in get_args(Verdict) if verdict == text)


def _holds(words: list[str], part: list[str]) -> bool:
    """Return whether `part` stands in `words`, one word after the other."""
    places = range(len(words) - len(part) + 1)
    return bool(part) and any(words[place : place + len(part)] == part for place in places)
