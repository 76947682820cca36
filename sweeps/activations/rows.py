"""A shard's strongest images as the rows and images that are stored."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.activations import NO_PLACE, Activations, strongest
from attrib_core.units import Units
from sweeps.columns import Columns, name_columns, png_columns
from sweeps.images.columns import image_columns, shard_columns
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard
from sweeps.schemas import activations_images, activations_results
from sweeps.store import ImageFailure, columns_table


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a shard asks of each image: its activation of units, or its logits of classes."""

    units: Units | None = None
    classes: tuple[int, ...] = ()

    @property
    def unit_names(self) -> list[tuple[str, str]]:
        """Layer and name of each unit."""
        by_layer = {} if self.units is None else self.units.names
        return [(layer, str(name)) for layer, names in by_layer.items() for name in names]

    def name(self, place: int) -> str:
        """Return a unit or class in words."""
        return ":".join(self.unit_names[place]) if self.units is not None else f"class {self.classes[place]}"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Images that the network was shown, and what they activate, on the CPU."""

    indices: tuple[int, ...]  # [N], in the data set
    found: Activations  # [N, U]
    images_u8: Tensor  # [N, C, H, W], as the network saw them

    @classmethod
    def joined(cls, parts: Sequence["Shown"]) -> "Shown":
        """Return the images of several batches, one after the other."""
        images = [part.images_u8 for part in parts]
        return cls(
            indices=tuple(index for part in parts for index in part.indices),
            found=Activations.joined([part.found for part in parts]),
            images_u8=torch.cat(images) if images else torch.zeros(0, dtype=torch.uint8),
        )

    def not_finite(self, measured: Measured) -> dict[int, str]:
        """Return the images that activate something by what is no number, by index with the reason."""
        rows, columns = (~self.found.values.isfinite()).nonzero().T.tolist()
        return {
            self.indices[
                row
            ]: f"its activation of {measured.name(column)} is {self.found.values[row, column]}"
            for row, column in zip(rows, columns, strict=True)
        }

    def without(self, failed: Container[int]) -> "Shown":
        """Return the images that did not fail."""
        places = [place for place, index in enumerate(self.indices) if index not in failed]
        if len(places) == len(self.indices):
            return self
        return Shown(
            indices=tuple(self.indices[place] for place in places),
            found=self.found.of_images(places),
            images_u8=self.images_u8[places],
        )


@dataclass(frozen=True, kw_only=True)
class ActivationShard:
    """The images of a shard that could be used, and what they activate: what `compute` hands to `commit`."""

    shard: Shard
    measured: Measured
    shown: Shown
    top: int
    batch_size: int
    failed_images: Sequence[ImageFailure] = ()  # the shard's other images, of which there are no rows

    @property
    def chosen(self) -> Tensor:
        """The places `[U, K]` in `shown` of the strongest images of each unit or class."""
        return strongest(self.shown.found.values, self.top)

    def image_key(self, index: int) -> str:
        """Return the key of an image in images/: sorts by image. Units may be added: each shard has its own."""
        return f"i{index:06d}-{self.shard.id.rpartition('-')[2]}"


def result_table(
    shard: ActivationShard, inputs: ImageInputs, attempt: int, image_file: str | None
) -> pa.Table:
    """Return the strongest images of each unit or class, as `schemas.activations_results` says."""
    if not shard.shown.indices:  # no image could be used
        return activations_results().empty_table()
    chosen = shard.chosen
    num_measured, num_kept = chosen.shape
    indices = [shard.shown.indices[place] for place in chosen.flatten().tolist()]
    columns = {
        **shard_columns("activations", shard.shard, attempt, inputs, inputs.checkpoint),
        **_measured_columns(shard.measured, inputs, num_kept),
        **image_columns(inputs, indices),
        **_activation_columns(shard.shown.found, chosen),
        "rank_in_shard": np.tile(np.arange(1, num_kept + 1), num_measured),
        "batch_size": shard.batch_size,
        **name_columns("image", [shard.image_key(index) for index in indices], image_file),
    }
    return columns_table(columns, activations_results(), len(indices))


def image_table(shard: ActivationShard) -> pa.Table:
    """Return the images that the rows name, each once, as `schemas.activations_images` says."""
    shown = shard.shown
    places = sorted(set(shard.chosen.flatten().tolist()))
    columns = {
        **png_columns((shard.image_key(shown.indices[place]), shown.images_u8[place]) for place in places),
        "image_index": [shown.indices[place] for place in places],
    }
    return columns_table(columns, activations_images(), len(places))


def _measured_columns(measured: Measured, inputs: ImageInputs, num_kept: int) -> Columns:
    """Return layer and unit of each row, or the class; `num_kept` rows for each."""
    units, classes = measured.unit_names, measured.classes
    values: dict[str, list[str] | list[int]] = {
        "layer": [layer for layer, _ in units],
        "unit": [unit for _, unit in units],
        "class_index": list(classes),
        "class_name": [inputs.class_names[index] for index in classes],
    }
    return {
        name: [value for value in each for _ in range(num_kept)] if each else None
        for name, each in values.items()
    }


def _activation_columns(found: Activations, chosen: Tensor) -> Columns:
    """Return activation and position of the chosen images `[U, K]`; null where there is no position."""
    values, rows, columns = (
        each.T.gather(1, chosen).flatten().numpy() for each in (found.values, found.rows, found.columns)
    )
    return {
        "activation": values,
        "row": pa.array(rows, mask=rows == NO_PLACE),
        "column": pa.array(columns, mask=columns == NO_PLACE),
    }
