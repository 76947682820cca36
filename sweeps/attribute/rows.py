"""A shard of attributions as the columns and images that are stored."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.attribution import Attributions
from sweeps.attribute.columns import attribution_columns
from sweeps.images.columns import Columns, identity_columns, name_columns, png_columns, shard_columns
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard

# The only method that promises an attribution's sum.
COMPLETE = "integrated_gradients"


@dataclass(frozen=True, kw_only=True)
class AttributedBatch:
    """One batch of a shard. Rows of `[B · M]` go image by image, method by method."""

    indices: tuple[int, ...]  # [B], in the data set
    prediction: Tensor  # [B]
    confidence: Tensor  # [B]
    columns: Mapping[str, pa.Array]  # [B · M] each: attribution, its scale, completeness gap, scores
    saved: tuple[int, ...]  # [S], rows of images that are stored
    clean: Tensor  # [S, C, H, W] in [0, 1]


@dataclass(frozen=True, kw_only=True)
class AttributedShard:
    """A shard's batches: what `compute` hands to `commit`."""

    shard: Shard
    batches: list[AttributedBatch]
    batch_size: int

    @property
    def methods(self) -> tuple[str, ...]:
        """M methods, in the order of an image's rows."""
        return tuple(map(str, self.shard.axes["method"]))

    @property
    def num_rows(self) -> int:
        """Rows of the shard."""
        return len(self.shard.cells) * len(self.methods)

    @property
    def saved(self) -> frozenset[int]:
        """The images that are stored."""
        return frozenset(batch.indices[row] for batch in self.batches for row in batch.saved)


def method_columns(found: Attributions, scores: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, pa.Array]:
    """Columns `[B · M]` of a batch's attributions and of their deletion and insertion scores by method.

    The float16 values are all that is kept of an attribution: a shard's float32 would take twice the memory.
    """
    methods = list(found.values)
    deletion, insertion = (
        torch.stack([scores[method][kind] for method in methods], 1).flatten().numpy() for kind in (0, 1)
    )
    return {
        **attribution_columns(torch.stack([found.values[method] for method in methods], 1).flatten(0, 1)),
        "completeness_gap": _gaps(found, methods),
        "deletion_score": pa.array(deletion),
        "insertion_score": pa.array(insertion),
    }


def attribute_columns(
    attributed: AttributedShard, inputs: ImageInputs, image_file: str | None, attempt: int
) -> Columns:
    """One row an image and method, as `schemas.attribute_results` says."""
    indices = [index for batch in attributed.batches for index in batch.indices]
    per_image = identity_columns(inputs, indices) | {
        "prediction": torch.cat([batch.prediction for batch in attributed.batches]).numpy(),
        "confidence": torch.cat([batch.confidence for batch in attributed.batches]).numpy(),
    }
    count, saved = len(attributed.methods), attributed.saved
    shard = attributed.shard
    keys = [image_key(shard, index) if index in saved else None for index in indices for _ in range(count)]
    return {
        **shard_columns("attribute", shard, attempt, inputs, inputs.checkpoint),
        "target": shard.axes["target"],
        "batch_size": attributed.batch_size,
        **{name: np.repeat(values, count) for name, values in per_image.items()},
        "method": np.array(attributed.methods * len(indices), dtype=object),
        **{
            name: pa.concat_arrays([batch.columns[name] for batch in attributed.batches])
            for name in attributed.batches[0].columns
        },
        **name_columns("image", keys, image_file),
    }


def attribute_image_columns(attributed: AttributedShard) -> Columns:
    """The images as they were attributed, as `schemas.attribute_images` says."""
    stored = [
        (batch.indices[row], batch.clean[position])
        for batch in attributed.batches
        for position, row in enumerate(batch.saved)
    ]
    return {
        **png_columns((image_key(attributed.shard, index), image) for index, image in stored),
        "image_index": [index for index, _ in stored],
    }


def image_key(shard: Shard, index: int) -> str:
    """The key of an image in images/: sorts by image; each shard stores its own, since methods may be added."""
    return f"i{index:06d}-{shard.axes['target']}-{shard.id.rpartition('-')[2]}"


def _gaps(found: Attributions, methods: list[str]) -> pa.Array:
    """The completeness gap in the rows of its method, null in all others."""
    gaps = np.zeros((len(found.prediction), len(methods)), dtype=np.float32)
    if found.completeness_gap is not None:
        gaps[:, methods.index(COMPLETE)] = found.completeness_gap.numpy()
    is_null = np.tile([method != COMPLETE for method in methods], len(gaps))
    return pa.array(gaps.ravel(), mask=is_null)
