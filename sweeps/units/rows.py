"""A shard of images of units as the rows and images that are stored."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.generation import GeneratedUnits, UnitCell
from attrib_core.generation.unit_evaluation import UnitVerdict
from attrib_core.units import UnitName
from sweeps.columns import Columns, common_columns, list_column, name_columns, png_columns
from sweeps.generate.rows import key_word, spectrum_columns
from sweeps.plan import Shard
from sweeps.schemas import unit_images
from sweeps.store import columns_table


@dataclass(frozen=True, kw_only=True)
class UnitAxes:
    """What a shard is of: seeds and units of one layer under one recipe, and how many images each cell has."""

    recipe: str
    layer: str
    cells: tuple[UnitCell, ...]
    members: tuple[int, ...]

    @classmethod
    def of(cls, shard: Shard) -> "UnitAxes":
        """Return the axes of a shard, whose cells are pairs of seed and unit."""
        return cls(
            recipe=shard.value("recipe", str),
            layer=shard.value("layer", str),
            cells=tuple(UnitCell(UnitName.read(str(unit)), int(seed)) for seed, unit in shard.cells),
            members=shard.values("member", int),
        )


class ImageName(NamedTuple):
    """Which of the images of a shard it is."""

    cell: UnitCell
    member: int


@dataclass(frozen=True, kw_only=True)
class MadeBatch:
    """One batch of a shard: finished, measured, ready to be written; the members of a cell follow one another."""

    cells: Sequence[UnitCell]
    generated: GeneratedUnits
    verdict: UnitVerdict
    images: Tensor  # [B, C, H, W] uint8
    batch_size: int  # halved where memory ran out, which changes last bits of the images
    seconds: float


@dataclass(frozen=True, kw_only=True)
class MadeShard:
    """A shard's batches, still on the actor: what `compute` hands to `commit`."""

    shard: Shard
    axes: UnitAxes
    num_steps: int
    batches: list[MadeBatch]

    @property
    def names(self) -> list[ImageName]:
        """Which image each row is of."""
        return [ImageName(cell, member) for cell in self.axes.cells for member in self.axes.members]

    @property
    def keys(self) -> list[str]:
        """The keys of the images in images/."""
        return [image_key(self.axes, name, self.num_steps) for name in self.names]


def result_columns(made: MadeShard, classifier: Classifier, image_file: str | None, attempt: int) -> Columns:
    """Return one row an image, as `schemas.unit_results` says."""
    generated, verdicts = [each.generated for each in made.batches], [each.verdict for each in made.batches]
    images_by_batch = [(batch, len(batch.images)) for batch in made.batches]
    model, digest = classifier.name, classifier.digest
    return {
        **common_columns("units", made.shard, attempt, model=model, digest=digest),
        **name_columns("image", made.keys, image_file),
        **_identity_columns(made),
        "num_steps": made.num_steps,
        "batch_size": [batch.batch_size for batch, count in images_by_batch for _ in range(count)],
        "activation": torch.cat([each.activation for each in verdicts]).numpy(),
        "top1": torch.cat([each.top1 for each in verdicts]).numpy(),
        "total_variation": torch.cat([each.total_variation for each in verdicts]).numpy(),
        "clipped_share": torch.cat([each.clipped_share for each in generated]).numpy(),
        **spectrum_columns(torch.cat([each.images for each in made.batches])),
        "activation_by_step": list_column(torch.cat([each.activation_by_step for each in generated])),
        "loss_by_step": list_column(torch.cat([each.loss_by_step for each in generated])),
        "seconds": [batch.seconds / count for batch, count in images_by_batch for _ in range(count)],
    }


def image_table(made: MadeShard) -> pa.Table:
    """Return the rows of images/."""
    images = torch.cat([batch.images for batch in made.batches])
    columns = {
        **png_columns(zip(made.keys, images, strict=True)),
        **_identity_columns(made),
        "step": made.num_steps,
    }
    return columns_table(columns, unit_images(), len(images))


def image_key(axes: UnitAxes, name: ImageName, step: int) -> str:
    """Return the key of an image in images/: sorts by recipe, layer, unit, seed, member and step."""
    unit = name.cell.unit
    word = f"u{unit.number:04d}" if str(unit) == str(unit.number) else f"u-{key_word(str(unit))}"
    words = (key_word(axes.recipe), _layer_word(axes.layer), word)
    return f"{'-'.join(words)}-s{name.cell.seed:04d}-m{name.member:03d}-t{step:05d}"


def _layer_word(layer: str) -> str:
    """Return a layer's name as part of a key, in which readers of archives take a dot for the key's end."""
    return layer.replace(".", "-") if re.fullmatch(r"[\w.]+", layer, re.ASCII) else key_word(layer)


def _identity_columns(made: MadeShard) -> Columns:
    return {
        "recipe": made.axes.recipe,
        "layer": made.axes.layer,
        "unit": [str(name.cell.unit) for name in made.names],
        "seed": [name.cell.seed for name in made.names],
        "member": [name.member for name in made.names],
    }
