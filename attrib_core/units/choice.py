"""Which units are chosen: `blocks.4.1:0-7,12,blocks.2.0:all,blocks.3.0:5:center,head:FILE.safetensors#key`.

An element with a colon begins a layer, and one without goes on with it. `:center` is the neuron in the middle.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attrib_core.prepared import PreparedModel
from attrib_core.units.directions import SUFFIX, read_directions
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


@dataclass(frozen=True)
class _Element:
    """What one element of the text says."""

    text: str
    layer: str
    channels: str  # a channel, a range, `all`, or a file of directions
    center: bool


def choose_units(text: str, model: PreparedModel, image_size: int) -> Units:
    """Return the units that a text names. Raises ValueError that names the element, and what is accepted."""
    if not isinstance(text, str):
        raise ValueError(f"{FIELD}: a {type(text).__name__}; accepted is text: {FORM}")
    layers: dict[str, Layer] = {}
    names: dict[str, tuple[UnitName, ...]] = {}
    directions: dict[str, NDArray[np.float32]] = {}
    files: dict[str, str] = {}
    for element in _elements(text):
        where = f"{FIELD}={element.text!r}"
        if element.layer not in layers:
            layers[element.layer] = find_layer(where, model, element.layer, image_size)
        layer = layers[element.layer]
        if element.center and not layer.has_places:
            raise ValueError(
                f"{where}: layer {layer.name!r} gives {layer}: it has no places, and so no {CENTER}"
            )
        if element.channels.partition("#")[0].endswith(SUFFIX):
            source, found = read_directions(where, element.channels)
            if files.setdefault(source, element.channels) != element.channels:
                raise ValueError(
                    f"{where}: two files are called {source!r}; accepted are files of different names"
                )
            _check_width(where, layer, source, found)
            directions[source] = found
            added = [UnitName(row, source, element.center) for row in range(len(found))]
        else:
            channels = _channels(where, layer, element.channels)
            added = [UnitName(channel, "", element.center) for channel in channels]
        before = names.get(layer.name, ())
        if twice := [each for each in added if each in before]:
            raise ValueError(
                f"{where}: unit {twice[0]} of layer {layer.name!r} is listed twice; list each once"
            )
        names[layer.name] = (*before, *added)
    return Units(layers=layers, names=names, directions=directions)


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
