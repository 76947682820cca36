"""A shard of modified images as the columns and images that are stored."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.generation.modification import NEVER, Distances, ModificationSettings, Modified
from sweeps.images.columns import Columns, identity_columns, name_columns, png_columns, shard_columns
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard


@dataclass(frozen=True, kw_only=True)
class ModifiedBatch:
    """One batch of a shard; `saved` are the rows whose images are stored."""

    indices: tuple[int, ...]  # [B], in the data set
    result: Modified
    saved: tuple[int, ...]  # [S]
    clean: Tensor  # [S, C, H, W] in [0, 1]


@dataclass(frozen=True, kw_only=True)
class ModifiedShard:
    """A shard's batches: what `compute` hands to `commit`."""

    shard: Shard
    settings: ModificationSettings
    batches: list[ModifiedBatch]
    batch_size: int

    @property
    def target(self) -> int:
        """The class that all images of the shard aim at."""
        return int(self.shard.axes["target"])

    @property
    def indices(self) -> list[int]:
        """The shard's images, in the order of its rows."""
        return [index for batch in self.batches for index in batch.indices]

    @property
    def saved(self) -> frozenset[int]:
        """Those whose images are stored."""
        return frozenset(batch.indices[row] for batch in self.batches for row in batch.saved)


def modify_columns(
    modified: ModifiedShard, inputs: ImageInputs, image_file: str | None, attempt: int
) -> Columns:
    """One row an image, as `schemas.modify_results` says."""
    return {
        **shard_columns("modify", modified.shard, attempt, inputs, inputs.checkpoint),
        **identity_columns(inputs, modified.indices),
        "target": modified.target,
        "target_name": inputs.class_names[modified.target],
        "num_steps": modified.settings.num_steps,
        "step_size": modified.settings.step_size,
        "batch_size": modified.batch_size,
        **_image_names(modified, image_file),
        **_facts(modified),
    }


def modify_image_columns(modified: ModifiedShard) -> Columns:
    """Clean and modified images, as `schemas.modify_images` says."""
    target = modified.target
    stored = [each for batch in modified.batches for each in _images(batch)]
    return {
        **png_columns((image_key(target, index, kind), image) for index, kind, image in stored),
        "image_index": [index for index, _, _ in stored],
        "target": pa.array(
            [target if kind == "modified" else None for _, kind, _ in stored], type=pa.int32()
        ),
        "kind": [kind for _, kind, _ in stored],
    }


def image_key(target: int, index: int, kind: str) -> str:
    """The key of an image in images/: sorts by target and image."""
    return f"t{target:04d}-i{index:06d}-{kind}"


def _images(batch: ModifiedBatch) -> list[tuple[int, str, Tensor]]:
    """Index, kind and image `[C, H, W]` of what is stored."""
    stored: list[tuple[int, str, Tensor]] = []
    for position, row in enumerate(batch.saved):
        stored.append((batch.indices[row], "clean", batch.clean[position]))
        stored.append((batch.indices[row], "modified", batch.result.images_u8[row]))
    return stored


def _image_names(modified: ModifiedShard, image_file: str | None) -> Columns:
    """For each row the keys of its two images, and beside each key the file."""
    names: Columns = {}
    saved = modified.saved
    for column, kind in (("image", "modified"), ("clean", "clean")):
        keys = [
            image_key(modified.target, index, kind) if index in saved else None for index in modified.indices
        ]
        names |= name_columns(column, keys, image_file)
    return names


def _facts(modified: ModifiedShard) -> Columns:
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
        "logit_by_step": _lists(torch.cat([each.logit_by_step for each in results])),
        "argmax_by_step": _lists(torch.cat([each.argmax_by_step for each in results]).int()),
    }


def _norms(prefix: str, changes: list[Distances], is_null: np.ndarray | None = None) -> Columns:
    columns = {name: torch.cat([getattr(each, name) for each in changes]) for name in ("linf", "l2", "l1")}
    return {f"{prefix}{name}": pa.array(values.numpy(), mask=is_null) for name, values in columns.items()}


def _lists(values: Tensor) -> pa.Array:
    """`[B, T]` as one list a row."""
    num_rows, num_steps = values.shape
    offsets = np.arange(0, num_rows * num_steps + 1, num_steps, dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values.flatten().numpy()))
