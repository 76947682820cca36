"""Which units are chosen: `blocks.4.1:0-7,12,blocks.2.0:all,blocks.3.0:5:center,head:FILE.safetensors#key`.

An element with a colon begins a layer, and one without goes on with it. `:center` is the neuron in the middle.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.prepared import PreparedModel
from attrib_core.units.directions import SUFFIX, as_directions, digest, read_directions
from attrib_core.units.layers import Layer, find_layer
from attrib_core.units.names import CENTER, UnitName

FIELD = "units"
FORM = "LAYER:CHANNELS, such as blocks.4.1:0-7,12, LAYER:all, LAYER:5:center or LAYER:FILE.safetensors#key"
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Units:
    """Chosen units by layer, in the order in which they were named; picklable."""

    layers: Mapping[str, Layer]
    names: Mapping[str, tuple[UnitName, ...]]  # of each layer
    directions: Mapping[str, NDArray[np.float32]]  # [D, C] each, by `FILE#key`

    @property
    def definitions(self) -> dict[str, str]:
        """Digests of the directions, for a run's record: another file of the same name is not the same."""
        return {f"directions {name}": digest(found) for name, found in self.directions.items()}


@dataclass(frozen=True)
class _Element:
    """What one element of the text says."""

    text: str
    layer: str
    channels: str  # a channel, a range, `all`, or a file of directions
    center: bool


def choose_units(
    text: str, model: PreparedModel, image_size: int, directions: Mapping[str, Tensor] | None = None
) -> Units:
    """Return the units that a text names.

    `directions`, `[D, C]` or `[C]` by name, may be named as files are. Raises ValueError that names the element,
    and what is accepted.
    """
    if not isinstance(text, str):
        raise ValueError(f"{FIELD}: a {type(text).__name__}; accepted is text: {FORM}")
    choice = _Choice(model, image_size, directions or {})
    for element in _elements(text):
        choice.add(element)
    return Units(layers=choice.layers, names=choice.names, directions=choice.directions)


class _Choice:
    """The units of the elements that were read so far."""

    def __init__(self, model: PreparedModel, image_size: int, given: Mapping[str, Tensor]) -> None:
        self._model, self._image_size, self._given = model, image_size, given
        self._texts: dict[str, str] = {}  # how the directions of a name were written
        self.layers: dict[str, Layer] = {}
        self.names: dict[str, tuple[UnitName, ...]] = {}
        self.directions: dict[str, NDArray[np.float32]] = {}

    def add(self, element: _Element) -> None:
        """Add the units of one element. Raises ValueError for what cannot be."""
        where, layer = f"{FIELD}={element.text!r}", self._layer(element)
        if element.center and not layer.has_places:
            raise ValueError(
                f"{where}: layer {layer.name!r} gives {layer}: it has no places, and so no {CENTER}"
            )
        source, numbers = self._numbers(where, layer, element.channels)
        added = [UnitName(number, source, element.center) for number in numbers]
        before = self.names.get(layer.name, ())
        if twice := [each for each in added if each in before]:
            raise ValueError(
                f"{where}: unit {twice[0]} of layer {layer.name!r} is listed twice; list each once"
            )
        self.names[layer.name] = (*before, *added)

    def _layer(self, element: _Element) -> Layer:
        if element.layer not in self.layers:
            where = f"{FIELD}={element.text!r}"
            self.layers[element.layer] = find_layer(where, self._model, element.layer, self._image_size)
        return self.layers[element.layer]

    def _numbers(self, where: str, layer: Layer, text: str) -> tuple[str, range]:
        """Return the name of the directions that a text stands for, empty for channels, and their numbers."""
        if text in self._given:
            source, found = text, as_directions(f"directions[{text!r}]", self._given[text].cpu().numpy())
        elif text.partition("#")[0].endswith(SUFFIX):
            source, found = read_directions(where, text)
        else:
            return "", _channels(where, layer, text)
        if self._texts.setdefault(source, text) != text:
            raise ValueError(
                f"{where}: two files are called {source!r}; accepted are files of different names"
            )
        _check_width(where, layer, source, found)
        self.directions[source] = found
        return source, range(len(found))


def _elements(text: str) -> Iterator[_Element]:
    last: _Element | None = None
    for part in text.split(","):
        part = part.strip()
        layer, colon, channels = part.partition(":")
        if not colon and last is not None and part:
            last = replace(last, text=part, channels=part)  # of the same layer, and in its middle too
        else:
            rest, _, end = channels.rpartition(":")
            center = end == CENTER
            last = _Element(part, layer, rest if center else channels, center)
        if not last.layer or not last.channels:
            raise ValueError(f"{FIELD}={text!r}: {part!r} is no unit of a layer; accepted: {FORM}")
        yield last


def _channels(where: str, layer: Layer, text: str) -> range:
    if text == "all":
        return range(layer.num_channels)
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{where}: {text!r} is no channel, no range and no file; accepted: {FORM}")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError(f"{where}: the range runs backwards; accepted are ranges such as 0-7")
    if last >= layer.num_channels:
        raise ValueError(
            f"{where}: layer {layer.name!r} gives {layer}; accepted are channels 0 to {layer.num_channels - 1}"
        )
    return range(first, last + 1)


def _check_width(where: str, layer: Layer, source: str, directions: NDArray[np.float32]) -> None:
    if directions.shape[1] != layer.num_channels:
        raise ValueError(
            f"{where}: {source} has directions of {directions.shape[1]} numbers, layer {layer.name!r} gives "
            f"{layer}; accepted are directions [D, {layer.num_channels}]"
        )
