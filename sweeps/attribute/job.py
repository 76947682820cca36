"""The actor's side of static attribution: a pinned classifier and shards of images."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from attrib_core.attacks import AttackedModel
from attrib_core.attribution import METHODS, AttributionSettings, Target, attribute, deletion_and_insertion
from attrib_core.attribution.model import default_batch_size
from attrib_core.classifiers import build_classifier
from attrib_core.execution import Precision, choose_execution, run_batches
from sweeps.attribute.rows import (
    AttributeAxes,
    AttributedBatch,
    AttributedShard,
    image_table,
    method_columns,
    result_table,
)
from sweeps.commit import commit_shard
from sweeps.images.batch_sizes import largest_alike, whole_batch_size
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard
from sweeps.store import RunDirectory

WARM_UP_IMAGES = 4
LOSS: Target = "loss"


@dataclass(frozen=True, kw_only=True)
class AttributeJobSettings:
    """What an actor needs to know; weights and data come apart from it, through the object store."""

    output: str
    attribution: AttributionSettings
    precision: Precision
    save_images: frozenset[int]
    batch_size: int | None
    device: str | None = None


class AttributeJob:
    """Attributes what the classifier sees in the images of a shard; lives as long as its actor."""

    def __init__(self, settings: AttributeJobSettings, inputs: ImageInputs) -> None:
        self.settings, self.inputs = settings, inputs
        self.execution = choose_execution(settings.device, settings.precision)
        self.classifier = self.execution.prepare(build_classifier(inputs.checkpoint))
        self._most_that_fits = sys.maxsize  # images of a pass; less, for good, once memory has run out

    def compute(self, shard: Shard) -> AttributedShard:
        """Attributes every image by every method of the shard; methods share what they have in common."""
        axes = AttributeAxes.of(shard)
        run = partial(self._attributed_batch, axes.methods, axes.target)
        batched = run_batches(axes.indices, self.batch_size, run)
        batch_size = min(batched.batch_size, self._most_that_fits)
        return AttributedShard(shard=shard, axes=axes, batches=batched.results, batch_size=batch_size)

    def commit(self, attributed: AttributedShard, attempt: int) -> dict[str, Any]:
        """Encodes the images and commits the shard; the summary says whether this attempt won."""
        rows = partial(result_table, attributed, self.inputs, attempt)
        return commit_shard(self._run, attributed.shard, attempt, partial(image_table, attributed), rows)

    @cached_property
    def batch_size(self) -> int:
        """The batch size asked for, or the largest that is fast and changes no bit of a result."""
        if self.settings.batch_size is not None:
            return whole_batch_size(self.settings.batch_size)
        limit = default_batch_size(self.execution.device, self.inputs.image_shape)
        return largest_alike(AttackedModel(self.classifier, self.execution), self._probes, limit)

    def seconds_per_image(self, methods: Sequence[str], target: Target) -> float:
        """Seconds an image takes on this device under all the methods, from a few images."""
        indices = self.inputs.spread(WARM_UP_IMAGES)
        self._attributed_batch(methods, target, indices)
        start = time.perf_counter()
        self._attributed_batch(methods, target, indices)
        return (time.perf_counter() - start) / len(indices)

    @cached_property
    def _run(self) -> RunDirectory:
        return RunDirectory(self.settings.output)

    def _probes(self, count: int) -> Tensor:
        return self.inputs.images(self.inputs.spread(count), self.execution.device)

    def _attributed_batch(
        self, methods: Sequence[str], target: Target, indices: Sequence[int]
    ) -> AttributedBatch:
        images = self.inputs.images(indices, self.execution.device)
        labels = torch.from_numpy(self.inputs.labels[list(indices)])
        found = attribute(
            self.classifier,
            images,
            labels.to(self.execution.device),
            methods,
            target=target,
            settings=self.settings.attribution,
            execution=self.execution,
            keys=tuple(indices),
            batch_size=min(self.batch_size, self._most_that_fits),
        )
        self._most_that_fits = found.batch_size
        scores = {
            name: self._scores(images, _support(name, target, values), found.prediction)
            for name, values in found.values.items()
        }
        image_rows = [row for row, index in enumerate(indices) if index in self.settings.save_images]
        return AttributedBatch(
            indices=tuple(indices),
            prediction=found.prediction,
            confidence=found.confidence,
            columns=method_columns(found, scores),
            image_rows=tuple(image_rows),
            clean=images[image_rows].cpu(),
        )

    def _scores(self, images: Tensor, values: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Deletion and insertion scores `[B]` by the probability of the predicted classes `[B]`."""
        return deletion_and_insertion(
            self.classifier,
            images,
            values.to(images.device),
            classes.to(images.device),
            execution=self.execution,
            batch_size=min(self.batch_size, self._most_that_fits),
        )


def _support(method: str, target: Target, values: Tensor) -> Tensor:
    """Values that are largest where a pixel speaks for the class: of the loss, what lowers it."""
    return -values if target == LOSS and METHODS[method].is_signed else values
