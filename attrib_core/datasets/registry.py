"""Data sets by name. A new one is one new file with a function under `@register("its_name")`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attrib_core.datasets.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asked for: the full `name`, and `location`, the part after its colon.

    `image_column` and `label_column` are of tables; None finds them. `refuse_unreadable` is false where the
    caller takes a data set in which some images cannot be used.
    """

    name: str
    location: str
    split: str | None
    root: Path | None
    image_column: str | None = None
    label_column: str | None = None
    refuse_unreadable: bool = True


Loader = Callable[[Request], Dataset]


@dataclass(frozen=True)
class _Entry:
    load: Loader
    location: str | None  # how the help names the part after the colon

    def spelled(self, name: str) -> str:
        return f"{name}:{self.location}" if self.location else name


_ENTRIES: dict[str, _Entry] = {}


def register(name: str, location: str | None = None) -> Callable[[Loader], Loader]:
    """Register the decorated function as the loader of `name`, or of `name:location` for any location."""

    def decorate(loader: Loader) -> Loader:
        assert name not in _ENTRIES, f"{name} is registered twice"
        _ENTRIES[name] = _Entry(loader, location)
        return loader

    return decorate


def load_dataset(
    name: str,
    *,
    split: str | None = None,
    root: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    refuse_unreadable: bool = True,
) -> Dataset:
    """Return a data set: `fashion_mnist`, `flowers`, `imagenet`, `imagefolder:PATH` or `parquet:URL`.

    `root` is where its files are, for those that have no location in their name. `image_column` and
    `label_column` name the columns of Parquet files in which these cannot be found without doubt. Raises
    ValueError for an unknown name or split, and for files that are missing or damaged; with `refuse_unreadable`
    false, `Dataset.unreadable` names the images that cannot be used, unless they are more than half.
    """
    prefix, separator, location = name.partition(":")
    entry = _ENTRIES.get(prefix)
    if entry is None or bool(location) != bool(entry.location) or (separator and not location):
        accepted = ", ".join(each.spelled(known) for known, each in sorted(_ENTRIES.items()))
        raise ValueError(f"dataset={name!r}: accepted are {accepted}")
    request = Request(
        name=name,
        location=location,
        split=split,
        root=None if root is None else Path(root).expanduser(),
        image_column=image_column,
        label_column=label_column,
        refuse_unreadable=refuse_unreadable,
    )
    if prefix != "parquet":
        for option, column in (("image_column", image_column), ("label_column", label_column)):
            if column is not None:
                raise ValueError(
                    f"{option}={column!r}: {name} has no columns; accepted with parquet:URL alone"
                )
    try:
        return entry.load(request)
    except OSError as error:
        # Failures that the loader does not explain itself, such as a folder without permission or a long name.
        raise ValueError(f"dataset={name!r}: {error}") from error
