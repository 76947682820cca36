"""A shard of modified images as the columns and images that are stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.generation.modification import NEVER, Distances, ModificationSettings, Modified
from sweeps.columns import Columns, list_column, name_columns, png_columns
from sweeps.images.columns import image_columns, shard_columns
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard
from sweeps.schemas import modify_images, modify_results
from sweeps.store import ImageFailure, columns_table


@dataclass(frozen=True, kw_only=True)
class ModifyAxes:
    """What a shard is of: images that all aim at one class."""

    target: int
    indices: tuple[int, ...]  # of the images, in the data set

    @classmethod
    def of(cls, shard: Shard) -> "ModifyAxes":
        """Return the axes of a shard."""
        return cls(target=shard.value("target", int), indices=shard.indices())


@dataclass(frozen=True, kw_only=True)
class ModifiedBatch:
    """One batch of a shard, with the rows whose images are stored."""

    indices: tuple[int, ...]  # [B], in the data set
    result: Modified
    image_rows: tuple[int, ...]  # [S]


@dataclass(frozen=True, kw_only=True)
class ModifiedShard:
    """A shard's batches: what `compute` hands to `commit`."""

    shard: Shard
    axes: ModifyAxes
    settings: ModificationSettings
    batches: list[ModifiedBatch]
    batch_size: int
    failed_images: Sequence[ImageFailure] = ()  # the shard's other images, of which there are no rows

    @property
    def stored(self) -> frozenset[int]:
        """The images that are stored, by index in the data set."""
        return frozenset(batch.indices[row] for batch in self.batches for row in batch.image_rows)


def result_table(
    modified: ModifiedShard, inputs: ImageInputs, attempt: int, image_file: str | None
) -> pa.Table:
    """Return one row an image, as `schemas.modify_results` says."""
    if not modified.batches:  # no image could be used
        return modify_results().empty_table()
    axes = modified.axes
    columns = {
        **shard_columns("modify", modified.shard, attempt, inputs, inputs.checkpoint),
        **image_columns(inputs, axes.indices),
        "target": axes.target,
        "target_name": inputs.class_names[axes.target],
        "num_steps": modified.settings.num_steps,
        "step_size": modified.settings.step_size,
        "batch_size": modified.batch_size,
        **_image_names(modified, image_file),
        **_measured_columns(modified),
    }
    return columns_table(columns, modify_results(), len(axes.indices))


def image_table(modified: ModifiedShard) -> pa.Table:
    """Return clean and modified images, as `schemas.modify_images` says."""
    target = modified.axes.target
    stored = [each for batch in modified.batches for each in _images(batch)]
    columns = {
        **png_columns((image_key(target, index, kind), image) for index, kind, image in stored),
        "image_index": [index for index, _, _ in stored],
        "target": [target if kind == "modified" else None for _, kind, _ in stored],
        "kind": [kind for _, kind, _ in stored],
    }
    return columns_table(columns, modify_images(), len(stored))


def image_key(target: int, index: int, kind: str) -> str:
    """Return the key of an image in images/: sorts by target and image."""
    return f"t{target:04d}-i{index:06d}-{kind}"


def _images(batch: ModifiedBatch) -> list[tuple[int, str, Tensor]]:
    """Return index, kind and image `[C, H, W]` of what is stored."""
    stored: list[tuple[int, str, Tensor]] = []
    for row in batch.image_rows:
        stored.append((batch.indices[row], "clean", batch.result.clean_u8[row]))
        stored.append((batch.indices[row], "modified", batch.result.images_u8[row]))
    return stored


def _image_names(modified: ModifiedShard, image_file: str | None) -> Columns:
    """Return for each row the keys of its two images, null where they are not stored, and the file."""
    names: Columns = {}
    axes, stored = modified.axes, modified.stored
    for column, kind in (("image", "modified"), ("clean", "clean")):
        keys = [image_key(axes.target, index, kind) if index in stored else None for index in axes.indices]
        names |= name_columns(column, keys, image_file)
    return names


def _measured_columns(modified: ModifiedShard) -> Columns:
    results = [batch.result for batch in modified.batches]
    initial = torch.cat([each.initial.model.logits for each in results])
    final = torch.cat([each.final.model.logits for each in results])
    hit = torch.cat([each.first_hit_step for each in results]).numpy()
    return {
        "initial_prediction": initial.argmax(1).numpy(),
        "initial_confidence": initial.softmax(1).amax(1).numpy(),
        "prediction": final.argmax(1).numpy(),
        "confidence": final.softmax(1).amax(1).numpy(),
        "target_logit": torch.cat([each.final.logit for each in results]).numpy(),
        "target_probability": torch.cat([each.final.probability for each in results]).numpy(),
        "first_hit_step": pa.array(hit, mask=hit == NEVER),
        **_norms("", [each.change for each in results]),
        **_norms("hit_", [each.change_at_hit for each in results], hit == NEVER),
        "logit_by_step": list_column(torch.cat([each.logit_by_step for each in results])),
        "argmax_by_step": list_column(torch.cat([each.argmax_by_step for each in results]).int()),
    }


def _norms(prefix: str, changes: list[Distances], is_null: np.ndarray | None = None) -> Columns:
    columns = {name: torch.cat([getattr(each, name) for each in changes]) for name in ("linf", "l2", "l1")}
    return {f"{prefix}{name}": pa.array(values.numpy(), mask=is_null) for name, values in columns.items()}
