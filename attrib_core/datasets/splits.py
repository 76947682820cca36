"""The splits of a data set: which one a file or a folder belongs to, by its name, and the choice of one.

The names follow Hugging Face's `datasets` (`datasets.data_files`): a keyword between separators, anywhere in the
name of a folder or of a file.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

# Keywords by the split that `datasets` makes of them, both in the order of preference.
KEYWORDS = {
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("val", "valid", "validation", "dev"),
    "train": ("train", "training"),
}
ALL = "all"
# Keywords that are names of splits themselves; the others are called by the split that they belong to.
_NAMES = ("test", "val", "valid", "validation", "train")
_KINDS = {keyword: kind for kind, keywords in KEYWORDS.items() for keyword in keywords}
_KEYWORD = re.compile(rf"(?<![^-._ 0-9])(?:{'|'.join(sorted(_KINDS, key=len, reverse=True))})(?![^-._ 0-9])")
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.")  # `datasets` takes any name before such numbers as a split's
_MOST_NAMED = 3  # files that a message names


def keyword_of(name: str) -> str | None:
    """Return the keyword in the name of a folder or a file, in lower case.

    None if there is none, or keywords of two splits and neither at the beginning.
    """
    found = list(_KEYWORD.finditer(name.casefold()))
    if not found or (found[0].start() and len({_KINDS[each[0]] for each in found}) > 1):
        return None
    return found[0][0]


def split_of(parts: Sequence[str]) -> str | None:
    """Return the word that says the split of a file, given its folders and its name; the folders come first.

    That is a keyword, or the beginning of a shard's name in `data/`, such as `extra-00000-of-00002.parquet`.
    """
    for part in parts:
        if keyword := keyword_of(part):
            return keyword
    shard = _SHARD.match(parts[-1])
    return shard[1] if shard and parts[-2:-1] == ("data",) else None


def named_splits(found: Iterable[str]) -> dict[str, str]:
    """Return the names of splits in the order of preference, with what was `found` in names of files for each.

    `dev` is called `validation` and `eval` is called `test`, as `datasets` does, unless there is one of that name.
    """
    found = sorted(set(found), key=preference)
    kinds = [_KINDS.get(each, each) for each in found]
    return {
        each if each in _NAMES or kinds.count(kind) > 1 else kind: each
        for each, kind in zip(found, kinds, strict=True)
    }


def preference(split: str) -> tuple[int, str]:
    """Return a key that sorts test sets first, then validation sets, then training sets, then others."""
    order = [keyword for keywords in KEYWORDS.values() for keyword in keywords]
    return (order.index(split) if split in order else len(order)), split


def choose_split(name: str, available: Iterable[str], wanted: str | None) -> str:
    """Return the wanted split, else the most preferred one that exists; `all` if there are no splits.

    Another keyword of the same split will do (`validation` for `val`) where it fits one. Raises ValueError
    listing the splits of the data set if it lacks the wanted one.
    """
    accepted = tuple(available) or (ALL,)
    if wanted is None:
        return min(accepted, key=preference)
    if wanted in accepted:
        return wanted
    same = [split for split in accepted if wanted in _KINDS and _KINDS.get(split) == _KINDS[wanted]]
    if len(same) == 1:
        return same[0]
    raise ValueError(f"split={wanted!r}: {name} has {', '.join(accepted)}")


def choose_files(
    name: str, paths: Sequence[Sequence[str]], wanted: str | None
) -> tuple[str, dict[str, list[int]]]:
    """Return the chosen split, and the indices of the files of all splits; `paths` are folders and name of each.

    Where some files belong to no split, they are not mixed with the others unless `all` is asked for: without
    `wanted`, ValueError naming them.
    """
    found = [split_of(parts) for parts in paths]
    if not any(found):
        return choose_split(name, (), wanted), {ALL: list(range(len(paths)))}
    splits = named_splits(each for each in found if each is not None)
    files = {split: [row for row, each in enumerate(found) if each == word] for split, word in splits.items()}
    without = ["/".join(parts) for parts, each in zip(paths, found, strict=True) if each is None]
    if wanted == ALL and (without or len(splits) == 1):
        return ALL, {**files, ALL: list(range(len(paths)))}
    if without and wanted is None:
        raise ValueError(
            f"{name}: some files belong to the splits {', '.join(splits)}, and {shortened(without)} to none; "
            f"accepted as --split are {', '.join((*splits, ALL))}"
        )
    return choose_split(name, splits, wanted), files


def training_split(available: Iterable[str], chosen: str) -> str | None:
    """Return the split that a classifier was trained on, where another one is chosen; None if there is none."""
    found = [split for split in available if _KINDS.get(split) == "train" and split != chosen]
    return None if _KINDS.get(chosen) == "train" or len(found) != 1 else found[0]


def numbered_as_in_training(own: Iterable[str], training: Iterable[str]) -> tuple[str, ...]:
    """Return class names in the order of their numbers: the training split's sorted, then those that it lacks.

    A test split may lack a class. Numbered by itself, its later classes would be off by one. Splits that share no
    class are numbered by themselves.
    """
    own, training = set(own), set(training)
    return (*sorted(training), *sorted(own - training)) if own & training else tuple(sorted(own))


def describe_splits(sizes: Mapping[str, str], chosen: str) -> str:
    """Return the line that tells the user which splits there are, how large, and which one is taken."""
    listed = ", ".join(f"{split} ({size})" for split, size in sizes.items())
    return f"splits: {listed}; taken: {chosen}"


def shortened(names: Sequence[str], count: int = _MOST_NAMED) -> str:
    """Return the first names, quoted, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(repr(name) for name in names[:count]) + more
