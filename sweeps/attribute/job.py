"""The actor's side of static attribution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from attrib_core.attribution import AttributionSettings, Request, Target, attributions
from sweeps.attribute.rows import (
    AttributeAxes,
    AttributedBatch,
    AttributedShard,
    image_table,
    method_columns,
    result_table,
)
from sweeps.commit import commit_shard
from sweeps.images.actor import ActorSettings, ImageActor
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard


@dataclass(frozen=True, kw_only=True)
class AttributeJobSettings:
    """What an actor needs to know; weights and data come apart from it, through the object store."""

    actor: ActorSettings
    attribution: AttributionSettings
    scores: tuple[str, ...] = ("deletion", "insertion")


class AttributeJob:
    """Attributes what the classifier sees in the images of a shard; lives as long as its actor."""

    def __init__(self, settings: AttributeJobSettings, inputs: ImageInputs) -> None:
        self.settings, self.inputs = settings, inputs
        self._actor = ImageActor(settings.actor, inputs)
        self._model = self._actor.model()

    def compute(self, shard: Shard) -> AttributedShard:
        """Attribute every image by every method of the shard; methods share what they have in common."""
        axes = AttributeAxes.of(shard)
        work = partial(self._attributed_batch, axes.methods, axes.target)
        batches, failed = self._actor.in_batches(self._model, axes.indices, work)
        return AttributedShard(
            shard=shard,
            axes=replace(axes, indices=tuple(index for index in axes.indices if index not in failed)),
            batches=batches,
            batch_size=self._model.batch_size,
            failed_images=self._actor.image_failures(failed),
        )

    def prefetch(self, shard: Shard) -> None:
        """Have the images of a shard that waits read."""
        self._actor.expect(shard.indices())

    def commit(self, attributed: AttributedShard, attempt: int) -> dict[str, Any]:
        """Encode the images and commit the shard; the summary says whether this attempt was the first."""
        rows = partial(result_table, attributed, self.inputs, attempt)
        images = partial(image_table, attributed)
        return commit_shard(
            self._actor.run, attributed.shard, attempt, images, rows, failed_images=attributed.failed_images
        )

    def seconds_per_image(self, methods: Sequence[str], target: Target) -> float:
        """Measure the seconds that an image takes on this device under all the methods."""
        return self._actor.seconds_per_image(self._model, partial(self._attributed_batch, methods, target))

    def _attributed_batch(
        self, methods: Sequence[str], target: Target, indices: Sequence[int]
    ) -> AttributedBatch:
        model, image_rows = self._model, self._actor.stored_rows(indices)
        images = model.images(self._actor.images(indices, model.device))
        # Pixels of 8 bits and labels that fit: to check them, the host would wait for a GPU.
        request = Request(
            target=target,
            keys=tuple(indices),
            scores=self.settings.scores,
            settings=self.settings.attribution,
        )
        found = attributions(model, images, self._actor.labels(indices, model.device), methods, request)
        stored = images[model.execution.to_device(torch.tensor(image_rows, dtype=torch.long))]
        found, (clean,) = found.on_host([stored])
        return AttributedBatch(
            indices=tuple(indices),
            prediction=found.prediction,
            confidence=found.confidence,
            columns=method_columns(found),
            image_rows=image_rows,
            clean=clean,
        )
