"""A shard of attributions as the columns and images that are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.attribution import TARGETS, Attributions, Target
from sweeps.attribute.columns import attribution_columns, missing_scores, nullable
from sweeps.attribute.scores import AXIS, DirectoryScores
from sweeps.columns import name_columns, png_columns
from sweeps.images.columns import image_columns, shard_columns
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard
from sweeps.schemas import attribute_images, attribute_results
from sweeps.store import ImageFailure, columns_table


@dataclass(frozen=True, kw_only=True)
class AttributeAxes:
    """What a shard is of: one target, explained by M methods, under one set of weights.

    The maps of a shard that `is_beside` are there already; only their scores are stored.
    """

    checkpoint: str
    target: Target
    methods: tuple[str, ...]  # in the order of an image's rows
    scores: tuple[str, ...]
    indices: tuple[int, ...]  # of the images, in the data set
    is_beside: bool = False

    @classmethod
    def of(cls, shard: Shard, scores: DirectoryScores) -> "AttributeAxes":
        """Return the axes of a shard."""
        [target] = (each for each in TARGETS if each == shard.value("target", str))
        return cls(
            checkpoint=shard.value("checkpoint", str),
            target=target,
            methods=shard.values("method", str),
            scores=scores.of_shard(shard),
            indices=shard.indices(),
            is_beside=AXIS in shard.axes,
        )


@dataclass(frozen=True, kw_only=True)
class AttributedBatch:
    """One batch of a shard. Rows of `[B · M]` go image by image, method by method."""

    indices: tuple[int, ...]  # [B], in the data set
    prediction: Tensor  # [B]
    confidence: Tensor  # [B]
    explained: Tensor  # [B]
    columns: Mapping[str, pa.Array]  # [B · M] each: attribution, its scale, completeness gap, scores
    image_rows: tuple[int, ...]  # [S], rows of images that are stored
    clean: Tensor  # [S, C, H, W] in [0, 1]


@dataclass(frozen=True, kw_only=True)
class AttributedShard:
    """A shard's batches: what `compute` hands to `commit`."""

    shard: Shard
    axes: AttributeAxes
    batches: list[AttributedBatch]
    batch_size: int
    failed_images: Sequence[ImageFailure] = ()  # the shard's other images, of which there are no rows

    @property
    def stored(self) -> frozenset[int]:
        """The images that are stored, by index in the data set."""
        return frozenset(batch.indices[row] for batch in self.batches for row in batch.image_rows)

    def image_key(self, index: int) -> str:
        """Return the key of an image in images/: sorts by image. Methods may be added: each shard has its own."""
        return f"i{index:06d}-{self.axes.target}-{self.shard.id.rpartition('-')[2]}"


def method_columns(found: Attributions) -> dict[str, pa.Array]:
    """Return columns `[B · M]` of a batch's attributions and of their scores.

    Of an attribution only the float16 values stay in memory: a shard's float32 would take twice as much.
    """
    methods = list(found.values)
    return {
        **attribution_columns(torch.stack([found.values[method] for method in methods], 1).flatten(0, 1)),
        "completeness_gap": _of_some(found.completeness_gaps, found, np.float32),
        "num_path_steps": _of_some(found.num_path_steps, found, np.int32),
        "constant_map": pa.array(found.is_constant.flatten().numpy()),
        **score_columns(found),
    }


def score_columns(found: Attributions) -> dict[str, pa.Array]:
    """Return columns `[B · M]` of a batch's scores; one that is NaN is null."""
    return {column: nullable(numbers) for column, numbers in found.scores.items()}


def result_table(
    attributed: AttributedShard, inputs: ImageInputs, attempt: int, image_file: str | None
) -> pa.Table:
    """Return one row an image and method, as `schemas.attribute_results` says."""
    schema = attribute_results(inputs.image_shape)
    if not attributed.batches:  # no image could be used
        return schema.empty_table()
    axes, stored, count = attributed.axes, attributed.stored, len(attributed.axes.methods)
    per_image = image_columns(inputs, axes.indices) | {
        "prediction": torch.cat([batch.prediction for batch in attributed.batches]).numpy(),
        "confidence": torch.cat([batch.confidence for batch in attributed.batches]).numpy(),
        "explained_class": torch.cat([batch.explained for batch in attributed.batches]).numpy(),
    }
    keys = [attributed.image_key(index) if index in stored else None for index in axes.indices]
    columns = {
        **shard_columns("attribute", attributed.shard, attempt, inputs, inputs.weights(axes.checkpoint)),
        "checkpoint": axes.checkpoint,
        "target": axes.target,
        "batch_size": attributed.batch_size,
        **{name: np.repeat(values, count) for name, values in per_image.items()},
        "method": np.array(axes.methods * len(axes.indices), dtype=object),
        **missing_scores(attributed.batches[0].columns, len(axes.indices) * count),
        **joined_columns(attributed),
        **name_columns("image", [key for key in keys for _ in range(count)], image_file),
    }
    return columns_table(columns, schema, len(axes.indices) * count)


def joined_columns(attributed: AttributedShard) -> dict[str, pa.Array]:
    """Return the columns of all batches, one after the other."""
    names = attributed.batches[0].columns
    return {name: pa.concat_arrays([batch.columns[name] for batch in attributed.batches]) for name in names}


def image_table(attributed: AttributedShard) -> pa.Table:
    """Return the images as they were attributed, as `schemas.attribute_images` says."""
    stored = [
        (batch.indices[row], batch.clean[position])
        for batch in attributed.batches
        for position, row in enumerate(batch.image_rows)
    ]
    columns = {
        **png_columns((attributed.image_key(index), image) for index, image in stored),
        "image_index": [index for index, _ in stored],
    }
    return columns_table(columns, attribute_images(), len(stored))


def _of_some(numbers: Mapping[str, Tensor], found: Attributions, kind: type[np.number[Any]]) -> pa.Array:
    """Return numbers `[B]` of some methods in the rows of all, null in the others'."""
    methods = list(found.values)
    table = np.zeros((len(found.prediction), len(methods)), dtype=kind)
    for method, values in numbers.items():
        table[:, methods.index(method)] = values.numpy()
    is_null = np.tile([method not in numbers for method in methods], len(table))
    return pa.array(table.ravel(), mask=is_null)
