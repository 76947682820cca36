"""Files that say which class of a classifier each class of a data set means: JSON, or CSV."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np

from attrib_core.classifiers import Classifier
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.image_files import EXTENSIONS
from attrib_core.datasets.label_match import NO_CLASS
from attrib_core.datasets.label_names import Vocabulary, plain
from attrib_core.datasets.splits import shortened

ACCEPTED = (
    'accepted are JSON, {"folder or label": class}, and CSV with two columns, folder or label and class, '
    "where a class is an index or a name of the classifier's"
)
HEADERS = ("folder", "label", "name", "class_name", "class", "classname", "directory", "wnid", "synset")
# First columns of lists that say the class of each image.
OF_IMAGES = (
    "file",
    "filename",
    "file_name",
    "path",
    "filepath",
    "image",
    "img",
    "image_id",
    "imageid",
    "image_path",
)

Pairs = list[tuple[str, object]]


def read_label_file(path: Path, dataset: Dataset, classifier: Classifier) -> dict[str, int]:
    """Return the class index of each class of a data set, by the data set's name for it.

    The file has names of folders, ClassLabel names, or whole labels where the data set has no names. It may have
    more than the data set needs. A number is never read as a name's place: files such as Hugging Face's `id2label`
    number the classifier's classes.
    Raises ValueError for a file that cannot be read, a class that it lacks or has twice, and one that the
    classifier does not have.
    """
    where = f"labels={str(path)!r}"
    pairs = _read(path, where, dataset.class_names)
    images = [name for name, _ in pairs if PurePath(name).suffix.lower() in EXTENSIONS]
    if images and not set(images) & set(dataset.class_names):
        raise ValueError(f"{where}: {images[0]!r} is an image; accepted is one row a class. {ACCEPTED}")
    if not pairs:
        raise ValueError(f"{where}: holds no classes; {ACCEPTED}")
    targets: dict[str, int] = {}
    vocabulary = Vocabulary(classifier)
    for name, value in pairs:
        if name in targets:
            raise ValueError(f"{where}: {name!r} stands in it twice")
        targets[name] = _class_index(value, f"{where}: {name!r}", vocabulary)
    found = _found(dataset.class_names, targets)
    with_images = {dataset.class_names[label] for label in np.unique(dataset.labels)}
    missing = [name for name, index in found.items() if index is None and name in with_images]
    if missing:
        raise ValueError(
            f"{where}: lacks {len(missing)} of the {len(found)} classes of {dataset.name}, {shortened(missing)}; "
            f"it has {shortened(list(targets))}"
        )
    return {name: NO_CLASS if index is None else index for name, index in found.items()}


def _found(names: Sequence[str], targets: Mapping[str, int]) -> dict[str, int | None]:
    """Return the class index of each name, None without one; the form of Unicode and of spaces may differ."""
    by_plain: dict[str, set[int]] = {}
    for name, index in targets.items():
        by_plain.setdefault(plain(name), set()).add(index)
    similar = {name: min(found) for name, found in by_plain.items() if len(found) == 1}
    return {name: targets.get(name, similar.get(plain(name))) for name in names}


def _read(path: Path, where: str, class_names: Sequence[str]) -> Pairs:
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ValueError(f"{where}: cannot be read ({reason}); {ACCEPTED}") from error
    return _read_json(text, where) if text.lstrip()[:1] in ("{", "[") else _read_csv(text, where, class_names)


def _read_json(text: str, where: str) -> Pairs:
    try:
        content = json.loads(
            text, object_pairs_hook=tuple
        )  # a dict would hide a name that stands in it twice
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: is no JSON ({error}); {ACCEPTED}") from error
    if not isinstance(content, tuple):
        raise ValueError(f"{where}: holds a list; {ACCEPTED}")
    return list(content)


def _read_csv(text: str, where: str, class_names: Sequence[str]) -> Pairs:
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = next((each for each in ("\t", ";", ",") if lines and each in lines[0]), ",")
    rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise ValueError(f"{where}: row {number} has {len(row)} columns, {row!r}; {ACCEPTED}")
    pairs = [(name.strip(), value.strip()) for name, value in rows]
    has_header = (
        pairs
        and pairs[0][0].casefold() in (*HEADERS, *OF_IMAGES)
        and not pairs[0][1].isdigit()
        and (pairs[0][0] not in class_names or pairs[0][0] in (name for name, _ in pairs[1:]))
    )
    return list(_typed(pairs[1:] if has_header else pairs))


def _typed(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, object]]:
    for name, value in pairs:
        yield name, int(value) if value.removeprefix("-").isdecimal() else value


def _class_index(value: object, where: str, vocabulary: Vocabulary) -> int:
    classifier = vocabulary.classifier
    accepted = (
        f"accepted are indexes from 0 to {classifier.num_classes - 1} and names of {classifier.name}'s classes "
        f"such as {shortened(classifier.class_names)}"
    )
    if isinstance(value, str):
        if value in classifier.wnids:
            return classifier.wnids.index(value)
        found = [row for row, name in enumerate(classifier.class_names) if name == value]
        found = found if len(found) == 1 else sorted(vocabulary.candidates(value))
        if len(found) == 1:
            return found[0]
        several = f", which can be class {' or '.join(map(str, found))}" if found else ""
        raise ValueError(f"{where} is {value!r}{several}; {accepted}")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < classifier.num_classes:
        raise ValueError(f"{where} is {value!r}; {accepted}")
    return value
