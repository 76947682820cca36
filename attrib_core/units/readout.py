"""What images do to units: one number an image, from what the units' layer gives."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.prepared import PreparedModel
from attrib_core.units.directions import Directions
from attrib_core.units.layers import Layer
from attrib_core.units.names import UnitName


@dataclass(frozen=True, kw_only=True)
class Readout:
    """The units of a batch, one a row, all of one layer."""

    layer: Layer
    weights: Tensor  # [B, C], a direction in the channels; of a channel 1 in its place
    is_center: Tensor  # [B], whether the place in the middle counts alone

    @classmethod
    def of(
        cls, model: PreparedModel, layer: Layer, units: Sequence[UnitName], directions: Directions
    ) -> "Readout":
        """Return the readout of these units, on the model's device."""
        weights = torch.stack([_weights(layer, unit, directions) for unit in units])
        is_center = torch.tensor([unit.center for unit in units])
        to_device = model.execution.to_device
        return cls(layer=layer, weights=to_device(weights), is_center=to_device(is_center))

    def __call__(self, output: Tensor) -> Tensor:
        """Return the activation `[B]` of each row's own unit in what the layer gave `[B, ...]`.

        It is the mean over places, or the value in the middle; of a direction, its dot product with that.
        """
        by_channel = self.layer.by_channel(output)  # [B, C, P]
        mean, middle = by_channel.mean(2), by_channel[:, :, self.layer.center(output)]
        values = torch.where(self.is_center[:, None], middle, mean)
        return (values * self.weights).sum(1)


def _weights(layer: Layer, unit: UnitName, directions: Directions) -> Tensor:
    if unit.source:
        return torch.from_numpy(directions[unit.source][unit.number].copy())
    weights = torch.zeros(layer.num_channels)
    weights[unit.number] = 1.0
    return weights
