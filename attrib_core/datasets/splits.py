"""The choice of a split among those that a folder or a set of shards has."""

from collections.abc import Iterable

SPLITS = ("test", "val", "valid", "validation", "train")  # in the order of preference
ALL = "all"


def choose_split(name: str, available: Iterable[str], wanted: str | None) -> str:
    """Return the wanted split, else the first of `SPLITS` that exists; `all` if there are no splits.

    Raises ValueError listing the splits of the data set if it lacks the wanted one.
    """
    accepted = tuple(available) or (ALL,)
    if wanted is None:
        return min(accepted, key=lambda split: SPLITS.index(split) if split in SPLITS else len(SPLITS))
    if wanted not in accepted:
        raise ValueError(f"split={wanted!r}: {name} has {', '.join(accepted)}")
    return wanted
