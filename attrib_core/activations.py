"""How strongly images activate units and classes, and where in the image: forward passes alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.prepared import PreparedModel, prepared
from attrib_core.units import Layer, UnitName, Units, choose_units, layer_output

NO_PLACE = -1


@dataclass(frozen=True, kw_only=True)
class Activations:
    """What each image does to each unit or class.

    `rows` and `columns` say where a unit is activated most, as the middle of the place in pixels of the image;
    `NO_PLACE` for layers without places, and for classes.
    """

    values: Tensor  # [N, U] float32
    rows: Tensor  # [N, U] int32
    columns: Tensor  # [N, U] int32

    @classmethod
    def joined(cls, parts: Sequence["Activations"], dim: int = 0) -> "Activations":
        """Return the activations of several batches of images, one after the other; of none, empty ones.

        Along `dim` 1, those of several groups of units by the same images.
        """
        if not parts:
            nowhere = torch.zeros(0, 0, dtype=torch.int32)
            return cls(values=torch.zeros(0, 0), rows=nowhere, columns=nowhere)
        return cls(
            values=torch.cat([part.values for part in parts], dim),
            rows=torch.cat([part.rows for part in parts], dim),
            columns=torch.cat([part.columns for part in parts], dim),
        )

    def of_images(self, places: Sequence[int]) -> "Activations":
        """Return the activations of some of the images."""
        chosen = list(places)
        return Activations(values=self.values[chosen], rows=self.rows[chosen], columns=self.columns[chosen])


@dataclass(frozen=True, kw_only=True)
class StrongestImages:
    """The images that activate each unit most, the strongest first; K images of each of U units, on the CPU."""

    units: tuple[str, ...]  # [U], such as `blocks.4.1:12`
    images: Tensor  # [U, K], which of the images
    values: Tensor  # [U, K], their activations
    rows: Tensor  # [U, K], pixels, `NO_PLACE` for layers without places
    columns: Tensor  # [U, K]


def strongest_images(
    model: Classifier | PreparedModel, images: Tensor, units: str, *, top: int = 9
) -> StrongestImages:
    """Find the `top` images of `[N, C, H, W]` in [0, 1] that activate each unit most.

    `units` are written as `generate_all.py --units` takes them: `blocks.4.1:0-63`, `LAYER:5:center`. Raises
    ValueError for units that are not there and for images that the model cannot take.
    """
    if top < 1:
        raise ValueError(f"top={top}: accepted are 1 and more")
    ready = prepared(model, images)
    chosen = choose_units(units, ready, images.shape[-1])
    parts = ready.in_passes(
        len(images), lambda rows: unit_activations(ready, images[rows.start : rows.stop], chosen)
    )
    found = Activations.joined(parts)
    order = strongest(found.values, top)
    values, rows, columns = (
        each.T.gather(1, order).cpu() for each in (found.values, found.rows, found.columns)
    )
    names = tuple(f"{layer}:{name}" for layer, of_layer in chosen.names.items() for name in of_layer)
    return StrongestImages(units=names, images=order.cpu(), values=values, rows=rows, columns=columns)


def strongest(values: Tensor, top: int) -> Tensor:
    """Return the rows `[U, K]` of the `top` largest values `[N, U]` of each column, the largest first.

    Of equal values the first comes first. K is `top`, or N where there are fewer.
    """
    return values.sort(dim=0, descending=True, stable=True).indices[:top].T


@torch.no_grad()
def unit_activations(model: PreparedModel, images: Tensor, units: Units) -> Activations:
    """Return what at most `batch_size` images `[N, C, H, W]` do to units, layer by layer.

    A unit's number is what `Readout` says: the mean over places, or the value in the middle.
    """
    images = model.images(images)
    # Nothing here makes the host wait for a GPU: the next batch is prepared while this one computes.
    directions = {
        source: model.execution.to_device(torch.from_numpy(found))
        for source, found in units.directions.items()
    }
    parts = []
    for name, of_layer in units.names.items():
        layer = units.layers[name]
        output = layer_output(model, layer, images)
        parts.append(_of_layer(layer, output, of_layer, directions, images.shape[-2:]))
    return Activations.joined(parts, dim=1)


@torch.no_grad()
def class_activations(model: PreparedModel, images: Tensor, classes: Sequence[int]) -> Activations:
    """Return the logits of classes for at most `batch_size` images `[N, C, H, W]`; they have no places."""
    values = model(images).index_select(1, model.execution.to_device(torch.tensor(classes)))
    nowhere = torch.full(values.shape, NO_PLACE, dtype=torch.int32, device=values.device)
    return Activations(values=values, rows=nowhere, columns=nowhere)


def _of_layer(
    layer: Layer,
    output: Tensor,
    units: Sequence[UnitName],
    directions: Mapping[str, Tensor],
    size: Sequence[int],
) -> Activations:
    by_channel = layer.by_channel(output)  # [N, C, P]
    middle = layer.center(output)
    means, middles = by_channel.mean(2), by_channel[:, :, middle]
    values = [_along(middles if unit.center else means, unit, directions) for unit in units]
    # A neuron in the middle is in the middle, wherever its channel is strongest.
    places = [
        torch.full_like(values[0], middle, dtype=torch.int64)
        if unit.center
        else _along(by_channel, unit, directions).argmax(1)
        for unit in units
    ]
    rows, columns = _pixels(torch.stack(places, 1), layer, output, size)
    return Activations(values=torch.stack(values, 1), rows=rows, columns=columns)


def _along(values: Tensor, unit: UnitName, directions: Mapping[str, Tensor]) -> Tensor:
    """Return a channel, or the dot product with a direction, of values `[N, C, ...]`."""
    if not unit.source:
        return values[:, unit.number]
    # No matrix product: the order in which it adds up depends on the number of images.
    direction = directions[unit.source][unit.number]
    return (values * direction.reshape(-1, *[1] * (values.ndim - 2))).sum(1)


def _pixels(places: Tensor, layer: Layer, output: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return row and column, in images of `size`, of the middle of places `[N, U]`; `NO_PLACE` where none is.

    Tokens that are no patches, such as a class token, come before the patches and lie nowhere.
    """
    sides = [side for axis, side in enumerate(output.shape) if axis not in (0, layer.channel_axis)]
    num_others = 0
    if len(sides) == 1:
        side = math.isqrt(sides[0])
        num_others, sides = sides[0] - side**2, [side, side]
    if len(sides) != 2:
        nowhere = torch.full_like(places, NO_PLACE, dtype=torch.int32)
        return nowhere, nowhere
    patches = places - num_others
    (height, width), is_patch = sides, patches >= 0
    rows = ((patches // width + 0.5) * (size[0] / height)).int()
    columns = ((patches % width + 0.5) * (size[1] / width)).int()
    return rows.where(is_patch, NO_PLACE), columns.where(is_patch, NO_PLACE)
