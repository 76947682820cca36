"""The actor's side of static attribution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.attribution import AttributionSettings, Method, Request, Target, attributions
from sweeps.attribute.boxes import boxes_of
from sweeps.attribute.rows import (
    AttributeAxes,
    AttributedBatch,
    AttributedShard,
    image_table,
    method_columns,
    result_table,
    score_columns,
)
from sweeps.attribute.score_rows import score_table
from sweeps.attribute.scores import FIRST_SCORES, FOLDER, DirectoryScores
from sweeps.attribute.training_maps import AttributeInputs
from sweeps.commit import commit_shard
from sweeps.images.actor import ActorSettings, ImageActor
from sweeps.images.checkpoints import TRAINED, is_derived
from sweeps.plan import Shard

# That `--plan` tries all methods and scores on: some take a second an image.
NUM_TRIED_IMAGES = 32


@dataclass(frozen=True, kw_only=True)
class AttributeJobSettings:
    """What an actor needs to know; weights and data come apart from it, through the object store."""

    actor: ActorSettings
    attribution: AttributionSettings
    scores: DirectoryScores = FIRST_SCORES


class AttributeJob:
    """Attributes what the classifier sees in the images of a shard; lives as long as its actor."""

    def __init__(self, settings: AttributeJobSettings, inputs: AttributeInputs) -> None:
        self.settings, self.inputs = settings, inputs
        self._actor = ImageActor(settings.actor, inputs)
        self._actor.model()  # what does not fit a device fails before any shard

    def compute(self, shard: Shard) -> AttributedShard:
        """Attribute every image by every method of the shard; methods share what they have in common."""
        axes = AttributeAxes.of(shard, self.settings.scores)
        model, work = self._actor.model(axes.checkpoint), partial(self._attributed_batch, axes)
        batches, failed = self._actor.in_batches(model, axes.indices, work)
        return AttributedShard(
            shard=shard,
            axes=replace(axes, indices=tuple(index for index in axes.indices if index not in failed)),
            batches=batches,
            batch_size=model.batch_size,
            failed_images=self._actor.image_failures(failed),
        )

    def prefetch(self, shard: Shard) -> None:
        """Have the images of a shard that waits read."""
        self._actor.expect(shard.indices())

    def commit(self, attributed: AttributedShard, attempt: int) -> dict[str, Any]:
        """Encode the images and commit the shard; the summary says whether this attempt was the first."""
        run, shard, images = self._actor.run, attributed.shard, partial(image_table, attributed)
        rows: Callable[[str | None], pa.Table] = partial(result_table, attributed, self.inputs, attempt)
        if attributed.axes.is_beside:
            run, rows = run.beside(FOLDER), partial(score_table, attributed, self.inputs, attempt)
        return commit_shard(run, shard, attempt, images, rows, failed_images=attributed.failed_images)

    def seconds_per_image(self, checkpoint: str, methods: Sequence[str], target: Target) -> float:
        """Measure the seconds that an image takes on this device under all the methods."""
        axes = AttributeAxes(
            checkpoint=checkpoint,
            target=target,
            methods=tuple(methods),
            scores=self.settings.scores.named,
            indices=(),
        )
        work = partial(self._attributed_batch, axes)
        return self._actor.seconds_per_image(self._actor.model(checkpoint), work, NUM_TRIED_IMAGES)

    def _attributed_batch(self, axes: AttributeAxes, indices: Sequence[int]) -> AttributedBatch:
        model = self._actor.model(axes.checkpoint)
        image_rows = () if axes.is_beside else self._actor.stored_rows(indices)
        images = model.images(self._actor.images(indices, model.device))
        # Pixels of 8 bits and labels that fit: to check them, the host would wait for a GPU.
        request = Request(
            target=axes.target,
            keys=tuple(indices),
            scores=axes.scores,
            settings=self.settings.attribution,
            explained=self._explained(axes.checkpoint, images),
            given=self._given(tuple(indices), images),
            boxes=boxes_of(self.inputs, indices, axes.scores),
        )
        labels = self._actor.labels(indices, model.device)
        found = attributions(model, images, labels, axes.methods, request)
        stored = images[model.execution.to_device(torch.tensor(image_rows, dtype=torch.long))]
        found, (clean,) = found.on_host([stored])
        return AttributedBatch(
            indices=tuple(indices),
            prediction=found.prediction,
            confidence=found.confidence,
            explained=found.explained,
            columns=score_columns(found) if axes.is_beside else method_columns(found),
            image_rows=image_rows,
            clean=clean,
        )

    def _explained(self, checkpoint: str, images: Tensor) -> Tensor | None:
        """Return the classes `[B]` that the trained network predicts where another is compared with it.

        A map of another class would differ whatever the weights are.
        """
        if self.inputs.reference is None or not is_derived(checkpoint):
            return None
        return self._actor.model(TRAINED).exact_logits(images).argmax(1)

    def _given(self, indices: tuple[int, ...], images: Tensor) -> dict[str, Method]:
        """Return the methods whose maps a training has left."""
        training = self.inputs.training
        return {} if training is None else training.methods(indices, images)
