"""Data sets by name. A new one is one new file with a function under `@register("its_name")`.

After the names come families, which are imported when one of their names is asked for, and then users' code.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attrib_core.datasets.boxes import BoxesFormat, check_format
from attrib_core.datasets.dataset import Dataset
from attrib_core.references import Reference, parse_reference
from attrib_core.user_code import is_code


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asked for: the full `name`, and `location`, the part after its colon.

    `image_column` and `label_column` are of tables and of items that are dicts; None finds them. `boxes_column`
    is of Parquet files; None is no boxes.
    `refuse_unreadable` is false where the caller takes a data set in which some images cannot be used. `log` is
    told of what takes long.
    """

    name: str
    location: str
    split: str | None
    root: Path | None
    image_column: str | None = None
    label_column: str | None = None
    boxes_column: str | None = None
    boxes_format: BoxesFormat = "xyxy"
    refuse_unreadable: bool = True
    log: Callable[[str], None] = lambda line: None


Loader = Callable[[Request], Dataset]
# Modules with a function `load(request, reference)`, by the first part of the reference.
FAMILIES = {
    "hf": "attrib_core.datasets.hugging_face",
    "torchvision": "attrib_core.datasets.torchvision_sets",
}
OWN_CODE = "attrib_core.datasets.own_code"
REFERENCES = "hf:NAME, torchvision:NAME, FILE.py:FUNCTION and package.module:FUNCTION"
WITH_COLUMNS = ("parquet", "hf")


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
    boxes_column: str | None = None,
    boxes_format: BoxesFormat = "xyxy",
    refuse_unreadable: bool = True,
    log: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Return a data set: `fashion_mnist`, `flowers`, `imagenet`, `imagefolder:PATH`, `parquet:URL`, a reference.

    References are `torchvision:NAME`, `hf:NAME` (of Hugging Face's hub, or a local folder), and a function that
    returns a `Dataset` or a map-style one: `FILE.py:FUNCTION`, `package.module:FUNCTION`; with settings after it,
    such as `:download=true`.
    `root` is where its files are, for those that have no location in their name. `image_column` and
    `label_column` name the columns in which images and labels cannot be found without doubt. `boxes_column` names
    that of the boxes of Parquet files, if `Dataset.boxes` is wanted: lists of four numbers in pixels of the stored
    image, corners or, by `boxes_format`, a corner and a size; `objects.bbox` is the field of a struct. Raises
    ValueError for an unknown name or split, and for files that are missing or damaged; with `refuse_unreadable`
    false, `Dataset.unreadable` names the images that cannot be used, unless they are more than half. `log` is
    told how long reading takes where it takes long.
    """
    prefix, separator, location = name.partition(":")
    check_format(boxes_format)
    if boxes_column is not None and prefix != "parquet":
        raise ValueError(
            f"boxes_column={boxes_column!r}: accepted with parquet:URL; a function of yours returns a Dataset "
            "with `boxes`"
        )
    request = Request(
        name=name,
        location=location,
        split=split,
        root=None if root is None else Path(root).expanduser(),
        image_column=image_column,
        label_column=label_column,
        boxes_column=boxes_column,
        boxes_format=boxes_format,
        refuse_unreadable=refuse_unreadable,
        log=log,
    )
    entry = _ENTRIES.get(prefix)
    if entry is None and prefix and separator and (prefix in FAMILIES or is_code(_reference(name))):
        return _load_reference(request, prefix)
    if entry is None or bool(location) != bool(entry.location) or (separator and not location):
        accepted = ", ".join(each.spelled(known) for known, each in sorted(_ENTRIES.items()))
        raise ValueError(f"dataset={name!r}: accepted are {accepted}, {REFERENCES}")
    _refuse_columns(request, prefix)
    try:
        return entry.load(request)
    except OSError as error:
        # Failures that the loader does not explain itself, such as a folder without permission or a long name.
        raise ValueError(f"dataset={name!r}: {error}") from error


def _load_reference(request: Request, prefix: str) -> Dataset:
    reference = _reference(request.name)
    if not reference.rest:
        raise ValueError(f"dataset={request.name!r}: accepted are {REFERENCES}")
    if prefix in FAMILIES:
        _refuse_columns(request, prefix)
    load = importlib.import_module(FAMILIES.get(prefix, OWN_CODE)).load
    dataset: Dataset = load(request, reference)
    return dataset


def _reference(name: str) -> Reference:
    return parse_reference("dataset", name)


def _refuse_columns(request: Request, prefix: str) -> None:
    """Raise ValueError for columns that are named where there are none."""
    for option in ("image_column", "label_column"):
        column = getattr(request, option)
        if column is not None and prefix not in WITH_COLUMNS:
            raise ValueError(
                f"{option}={column!r}: {request.name} has no columns; accepted with parquet:URL, hf:NAME and "
                "functions whose items are dicts"
            )
