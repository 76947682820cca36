"""How strongly images activate units and classes, and where in the image: forward passes alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.prepared import PreparedModel

NO_PLACE = -1


@dataclass(frozen=True, order=True)
class Unit:
    """A channel of a layer, or the neuron in its middle."""

    layer: str
    name: str

    def __str__(self) -> str:
        return f"{self.layer}:{self.name}"

    @property
    def channel(self) -> int:
        return int(self.name.partition(":")[0])

    @property
    def is_center(self) -> bool:
        return self.name.endswith(":center")


def parse_units(text: str) -> tuple[Unit, ...]:
    layer, _, rest = text.partition(":")
    channels, colon, center = rest.partition(":")
    numbers = []
    for part in channels.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(Unit(layer, f"{number}{colon}{center}") for number in numbers)


@dataclass(frozen=True, kw_only=True)
class Activations:
    """What each image does to each unit or class.

    `rows` and `columns` say where the strongest activation of a unit's layer is, as the middle of its place in
    pixels of the image; `NO_PLACE` where the layer has no places.
    """

    values: Tensor  # [N, U] float32
    rows: Tensor  # [N, U] int32
    columns: Tensor  # [N, U] int32

    @classmethod
    def joined(cls, parts: Sequence["Activations"]) -> "Activations":
        """Return the activations of several batches of images, one after the other; of none, empty ones."""
        if not parts:
            nowhere = torch.zeros(0, 0, dtype=torch.int32)
            return cls(values=torch.zeros(0, 0), rows=nowhere, columns=nowhere)
        return cls(
            values=torch.cat([part.values for part in parts]),
            rows=torch.cat([part.rows for part in parts]),
            columns=torch.cat([part.columns for part in parts]),
        )

    def of_images(self, places: Sequence[int]) -> "Activations":
        """Return the activations of some of the images."""
        chosen = list(places)
        return Activations(values=self.values[chosen], rows=self.rows[chosen], columns=self.columns[chosen])


@torch.no_grad()
def unit_activations(model: PreparedModel, images: Tensor, units: Sequence[Unit]) -> Activations:
    """Return what at most `batch_size` images `[N, C, H, W]` do to units, from one pass for all layers."""
    layers = list(dict.fromkeys(unit.layer for unit in units))
    found: dict[str, Activations] = {}
    network = dict(model.classifier.network.named_modules())
    handles = []
    for layer in layers:
        of_layer = [unit for unit in units if unit.layer == layer]

        def hook(_module, _inputs, output, layer=layer, of_layer=of_layer):
            found[layer] = _measured(output, of_layer, images.shape[-2:])

        handles.append(network[layer].register_forward_hook(hook))
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    order = {
        unit: place for place, unit in enumerate(u for layer in layers for u in units if u.layer == layer)
    }
    places = torch.tensor([order[unit] for unit in units], device=images.device)
    return Activations(
        **{
            name: torch.cat([getattr(found[layer], name) for layer in layers], 1)[: len(images), places]
            for name in ("values", "rows", "columns")
        }
    )


def _measured(output: Tensor, units: Sequence[Unit], size: Sequence[int]) -> Activations:
    maps = output.float() if output.ndim == 4 else output.float()[..., None, None]
    maps = maps[:, [unit.channel for unit in units]]
    height, width = maps.shape[-2:]
    values = maps.mean((2, 3))
    places = maps.flatten(2).argmax(2)
    rows = ((places // width + 0.5) * size[0] / height).int()
    columns = ((places % width + 0.5) * size[1] / width).int()
    return Activations(values=values, rows=rows, columns=columns)


@torch.no_grad()
def class_activations(model: PreparedModel, images: Tensor, classes: Sequence[int]) -> Activations:
    """Return the logits of classes for at most `batch_size` images `[N, C, H, W]`; they have no places."""
    values = model(images)[:, list(classes)]
    nowhere = torch.full(values.shape, NO_PLACE, dtype=torch.int32, device=values.device)
    return Activations(values=values, rows=nowhere, columns=nowhere)


def strongest(values: Tensor, top: int) -> Tensor:
    """Return the rows `[U, K]` of the `top` largest values `[N, U]` of each column, the largest first.

    Of equal values the first comes first. K is `top`, or N where there are fewer.
    """
    return values.sort(dim=0, descending=True, stable=True).indices[:top].T
