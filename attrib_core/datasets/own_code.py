"""Data sets that a user's function returns: `FILE.py:FUNCTION`, `package.module:FUNCTION`."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attrib_core.datasets.dataset import Dataset, ImageSource, SelectedImages
from attrib_core.datasets.encoded_images import refuse_unreadable
from attrib_core.datasets.items import ItemColumns
from attrib_core.datasets.map_style import check_map_style, mapped_dataset
from attrib_core.datasets.registry import Request
from attrib_core.datasets.scanning import Opening
from attrib_core.datasets.splits import ALL, choose_split
from attrib_core.datasets.view import View
from attrib_core.references import Reference, parse_reference, typed_settings
from attrib_core.user_code import canonical, code_file, failure, find_target

SPLIT, TRAIN, ROOTS = "split", "train", ("root", "data_root")

Parameters = Mapping[str, inspect.Parameter]


@dataclass(frozen=True)
class Call:
    """How a user's function is called. Every process calls it for itself, so that this holds text alone."""

    reference: str
    arguments: Mapping[str, str | bool]  # what the options say, besides the reference's own settings

    def __call__(self) -> Any:
        """Return what the function returns. Raises ValueError with the user's file and line where it fails."""
        reference = parse_reference("dataset", self.reference)
        function = find_target("dataset", reference).value
        if not callable(function):
            return function
        settings = typed_settings("dataset", reference, function, given=self.arguments)
        try:
            return function(**settings, **self.arguments)
        except (Exception, SystemExit) as error:
            reason = failure(error, code_file(reference))
            if isinstance(error, FileNotFoundError) and not Path(str(error.filename)).is_absolute():
                reason += " (accepted are full paths: workers run in other folders)"
            raise ValueError(f"dataset={self.reference!r}: {reason}") from error


class OpenedImages(ImageSource):
    """Images of a `Dataset` whose source is a user's own class: each process calls the function for itself."""

    def __init__(self, call: Call, dataset: Dataset) -> None:
        self.call, self.digest = call, dataset.digest
        self._source: ImageSource | None = dataset.source

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}

    def read(self, indices: Sequence[int], view: View) -> NDArray[np.uint8]:
        if self._source is None:
            dataset = self.call()
            if not isinstance(dataset, Dataset) or dataset.digest != self.digest:
                raise ValueError(
                    f"dataset={self.call.reference!r}: the function returns another data set here than when the "
                    "sweep was started; accepted is one that is the same on every machine"
                )
            self._source = dataset.source
        return self._source.read(indices, view)


def load(request: Request, reference: Reference) -> Dataset:
    """Return the data set that a reference names. Raises ValueError for what is none and where code fails."""
    target = find_target("dataset", reference)
    text = str(canonical(reference))
    request = replace(request, name=text)
    parameters = _parameters(request, reference, target.value)
    arguments, split = _split_argument(request, reference, parameters)
    arguments |= _root_argument(request, parameters)
    call = Call(text, arguments)
    made = call()
    if isinstance(made, Dataset):
        dataset = _own_dataset(request, made, call)
    else:
        check_map_style(text, made)
        opening = Opening(
            items=made,
            opener=call,
            columns=ItemColumns(request.image_column, request.label_column),
            file=code_file(reference),
        )
        dataset = mapped_dataset(request, opening, split)
    return replace(dataset, definition=target.definition)


def _parameters(request: Request, reference: Reference, function: Any) -> Parameters:
    """Return the function's parameters by name. A data set that stands in a module itself has none."""
    where = f"dataset={request.name!r}"
    if not callable(function):
        if reference.settings or request.split is not None:
            raise ValueError(
                f"{where}: it is no function but of type {type(function).__name__}, so it takes no "
                "settings and no --split"
            )
        return {}
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _split_argument(
    request: Request, reference: Reference, parameters: Parameters
) -> tuple[dict[str, str | bool], str]:
    """Return `split=` or `train=` as the option --split says, and what the split is called in rows.

    Without the option the function's own default counts, and the test set if it has none.
    """
    settings = dict(reference.settings)
    name = next((each for each in (SPLIT, TRAIN) if each in parameters), None)
    if request.split is not None and (name is None or name in settings):
        reason = (
            "has no parameter `split` or `train`" if name is None else f"is given {name}={settings[name]}"
        )
        raise ValueError(f"split={request.split!r}: {request.name} {reason}; leave --split out")
    if name is None:
        return {}, ALL
    default = parameters[name].default
    if name in settings or (request.split is None and default is not inspect.Parameter.empty):
        value = settings.get(name, str(default))
        return {}, value if name == SPLIT else _train_or_test(value.lower() in ("true", "1"))
    if name == SPLIT:
        split = request.split or "test"
        return {SPLIT: split}, split
    split = choose_split(request.name, ("test", "train"), request.split)
    return {TRAIN: split == "train"}, split


def _train_or_test(is_train: bool) -> str:
    return "train" if is_train else "test"


def _root_argument(request: Request, parameters: Parameters) -> dict[str, str | bool]:
    name = next((each for each in ROOTS if each in parameters), None)
    return {} if name is None or request.root is None else {name: str(request.root.absolute())}


def _own_dataset(request: Request, dataset: Dataset, call: Call) -> Dataset:
    refuse_unreadable(request, dataset.keys, dataset.unreadable)
    source = dataset.source if _is_ours(dataset.source) else OpenedImages(call, dataset)
    return replace(dataset, name=request.name, source=source)


def _is_ours(source: ImageSource) -> bool:
    """Return True if a source can be pickled without a user's class in it."""
    if isinstance(source, SelectedImages):
        return _is_ours(source.source)
    return type(source).__module__.startswith(f"{__package__.partition('.datasets')[0]}.")
