"""Units of a network: channels of a layer, the neurons in their middle, and directions in a layer's channels."""

from attrib_core.units.choice import Units, choose_units
from attrib_core.units.directions import Directions
from attrib_core.units.layers import Layer, find_layer, list_layers
from attrib_core.units.names import UnitName
from attrib_core.units.passes import answers_and_output, layer_output
from attrib_core.units.readout import Readout

__all__ = [
    "Directions",
    "Layer",
    "Readout",
    "UnitName",
    "Units",
    "answers_and_output",
    "choose_units",
    "find_layer",
    "layer_output",
    "list_layers",
]
