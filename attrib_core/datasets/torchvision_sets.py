"""Data sets of torchvision by the name of their class: `torchvision:CIFAR10`, `torchvision:SVHN:download=true`."""

import inspect
import os
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torchvision.datasets
from numpy.typing import NDArray

from attrib_core.datasets.arrays import ArrayImages, array_digests
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.item_labels import LabelReader, class_names_of
from attrib_core.datasets.items import USUAL_COLUMNS, ItemError, as_image, image_and_label
from attrib_core.datasets.map_style import check_map_style, mapped_dataset
from attrib_core.datasets.probing import spread_indices
from attrib_core.datasets.registry import Request
from attrib_core.datasets.scanning import Opening
from attrib_core.datasets.splits import choose_split
from attrib_core.errors import in_one_line
from attrib_core.references import Reference, parse_reference, typed_settings, unknown

# Parameters that options fill, or that change images at random; the others are settings.
GIVEN = ("root", "transform", "target_transform", "transforms", "loader")
TRAIN_SPLITS = {"test": False, "train": True}
NUM_COMPARED = 16  # images whose array is compared with what the data set gives for its index
MOST_READERS = 8


@dataclass(frozen=True)
class Construction:
    """How a data set of torchvision is built, in every process alike.

    The reference is without the setting `download`: only the driver downloads, and the images are the same.
    """

    reference: str
    root: str | None
    split: str | bool | None  # of the parameter `split`, or True and False of `train`
    split_parameter: str | None

    def __call__(self, **download: Any) -> Any:
        """Return the data set. Raises ValueError where torchvision fails, above all for files that are missing."""
        reference = parse_reference("dataset", self.reference)
        kind = find_class(reference)
        arguments = typed_settings("dataset", reference, kind, given=self._given()) | download
        if self.root is not None:
            arguments["root"] = self.root
        if self.split_parameter is not None:
            arguments[self.split_parameter] = self.split
        try:
            return kind(**arguments)
        except ValueError as error:
            raise ValueError(f"dataset={self.reference!r}: {in_one_line(error)}") from error
        except Exception as error:
            remedy = "" if arguments.get("download") else self._remedy(kind)
            raise ValueError(
                f"dataset={self.reference!r}: data_root={self.root!r}: {in_one_line(error)}{remedy}"
            ) from error

    def _given(self) -> tuple[str, ...]:
        return GIVEN if self.split_parameter is None else (*GIVEN, self.split_parameter)

    def _remedy(self, kind: type) -> str:
        accepted = "the folder in which torchvision has put its files"
        can_download = "download" in _parameters(kind)
        return f"; accepted is {accepted}" + (", or the setting :download=true" if can_download else "")


def load(request: Request, reference: Reference) -> Dataset:
    """Return a split of the data set. Raises ValueError for an unknown one, and for files that are not there."""
    kind = find_class(reference)
    parameters = _parameters(kind)
    download, reference = _without_download(reference, kind)
    text = str(reference)
    request = replace(request, name=text)
    root = None
    if "root" in parameters:
        if request.root is None:
            raise ValueError(
                f"dataset={text!r}: needs --data-root, the folder that has its files or gets them"
            )
        root = str(request.root.absolute())
    construction, split = _with_split(request, reference, kind, root)
    items = construction(**download)
    check_map_style(text, items)
    if (arrays := _arrays_of(items)) is not None:
        return _array_dataset(request, split, items, *arrays)
    readers = min(MOST_READERS, os.cpu_count() or 1)
    return mapped_dataset(request, Opening(items=items, opener=construction, num_readers=readers), split)


def _without_download(reference: Reference, kind: type) -> tuple[dict[str, Any], Reference]:
    """Return the setting `download` with its type, if it is given, and the reference without it."""
    given = tuple(pair for pair in reference.settings if pair[0] == "download")
    rest = tuple(pair for pair in reference.settings if pair[0] != "download")
    others = tuple(name for name in _parameters(kind) if name != "download")
    only = Reference(reference.parts, given)
    typed = typed_settings("dataset", only, kind, given=others) if given else {}
    return typed, Reference(reference.parts, rest)


def find_class(reference: Reference) -> type:
    """Return the class of torchvision that a reference names. Raises ValueError with near matches."""
    name = ":".join(reference.rest)
    known = [each for each in torchvision.datasets.__all__ if _is_map_style(each)]
    if name not in known:
        raise ValueError(f"dataset={str(reference)!r}: {unknown('data set of torchvision', name, known)}")
    kind: type = getattr(torchvision.datasets, name)
    return kind


def _is_map_style(name: str) -> bool:
    kind = getattr(torchvision.datasets, name)
    base = torchvision.datasets.VisionDataset
    return isinstance(kind, type) and issubclass(kind, base) and kind is not base


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor, and where it passes others on, those of the class above it."""
    found: dict[str, inspect.Parameter] = {}
    for each in kind.__mro__:
        if "__init__" in vars(each):
            own = inspect.signature(each).parameters
            found = {**own, **found}
            if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in own.values()):
                break
    return found


def _with_split(
    request: Request, reference: Reference, kind: type, root: str | None
) -> tuple[Construction, str]:
    """Return how to build the split that is asked for, the test set by default, and its name.

    A class with a parameter `train` has the splits `test` and `train`; what it calls `split` is then a setting,
    such as EMNIST's.
    """
    text, parameters, settings = str(reference), _parameters(kind), dict(reference.settings)
    parameter = next((name for name in ("train", "split") if name in parameters), None)
    if parameter in settings:
        if request.split is not None:
            raise ValueError(f"split={request.split!r}: {text} says it already; leave one of them out")
        chosen = settings[str(parameter)]
        if parameter == "train":
            chosen = "train" if chosen.lower() == "true" else "test"
        return Construction(text, root, None, None), chosen
    if parameter is None:
        return Construction(text, root, None, None), choose_split(text, (), request.split)
    if parameter == "train":
        chosen = choose_split(text, TRAIN_SPLITS, request.split)
        return Construction(text, root, TRAIN_SPLITS[chosen], parameter), chosen
    known = _splits_of(Construction(text, root, "?", parameter))
    # Some classes do not say which they have.
    chosen = choose_split(text, known, request.split) if known else request.split or "test"
    return Construction(text, root, chosen, parameter), chosen


def _splits_of(wrong: Construction) -> tuple[str, ...]:
    """Return the splits of a class, which torchvision names when it is asked for one that cannot be."""
    try:
        wrong()
    except ValueError as error:
        _, _, listed = str(error).partition("Valid values are")
        return tuple(re.findall(r"'([^']*)'", listed))
    return ()


def _arrays_of(items: Any) -> tuple[NDArray[np.uint8], Any] | None:
    """Return images `[N, H, W]` or `[N, H, W, C]` and labels that a data set has in memory, if it gives these."""
    pixels = getattr(items, "data", None)
    labels = next(
        (each for name in ("targets", "labels") if (each := getattr(items, name, None)) is not None), None
    )
    if isinstance(pixels, torch.Tensor):
        pixels = pixels.numpy()
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        return None
    if pixels.ndim == 4 and pixels.shape[1] == 3 != pixels.shape[3]:
        pixels = pixels.transpose(0, 2, 3, 1)
    if labels is None or not len(pixels) == len(labels) == len(items):
        return None
    for index in spread_indices(len(items))[:NUM_COMPARED]:
        image, label = image_and_label(items[index], USUAL_COLUMNS)
        given = np.asarray(as_image(image)[0])
        if (
            not np.array_equal(given, pixels[index])
            or np.shape(labels[index])
            or int(label) != int(labels[index])
        ):
            return None
    return np.ascontiguousarray(pixels), labels


def _array_dataset(
    request: Request, split: str, items: Any, pixels: NDArray[np.uint8], targets: Any
) -> Dataset:
    """Return a data set whose images are in memory, which processes share."""
    try:
        reader = LabelReader(class_names_of(items))
        for index, target in enumerate(np.asarray(targets).tolist()):
            try:
                reader.add(target)
            except ItemError as error:
                raise ItemError(f"image {index}: {error}") from error
        labels, names, notes = reader.finish()
    except ItemError as error:
        raise ValueError(f"dataset={request.name!r}: {error}") from error
    return Dataset(
        name=request.name,
        split=split,
        class_names=names,
        labels=labels,
        keys=tuple(f"{index:05d}" for index in range(len(labels))),
        image_digests=array_digests(pixels),
        source=ArrayImages(pixels),
        notes=notes,
    )
