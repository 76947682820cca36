"""The actor's side of the sweep that modifies real images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attrib_core.execution import is_out_of_memory
from attrib_core.generation.modification import ModificationSettings, Modified, modify_checked
from sweeps.commit import commit_shard
from sweeps.images.actor import ActorSettings, ImageActor
from sweeps.images.inputs import NUM_PROBES, ImageInputs
from sweeps.modify.rows import ModifiedBatch, ModifiedShard, ModifyAxes, image_table, result_table
from sweeps.plan import Shard

# Steps of a warm-up; the passes around the steps weigh a little more in it.
WARM_UP = ModificationSettings(num_steps=3)


@dataclass(frozen=True, kw_only=True)
class ModifyJobSettings:
    """What an actor needs to know; weights and data come apart from it, through the object store."""

    actor: ActorSettings
    modification: ModificationSettings


def try_modification(settings: ModifyJobSettings, inputs: ImageInputs) -> None:
    """Try one step on one image, on this machine's CPU. Raises ValueError if it fails."""
    actor = replace(settings.actor, batch_size=1, precision="float32", device="cpu")
    try:
        ModifyJob(replace(settings, actor=actor), inputs).try_one_step()
    except Exception as error:  # a user's network may raise anything
        if is_out_of_memory(error):
            return  # the workers may have more
        raise ValueError(
            f"model: one step fails at image_size={inputs.image_size} on {inputs.checkpoint.name!r}; accepted are "
            f"models that have a gradient ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        ) from error


class ModifyJob:
    """Modifies the images of a shard and stores what came of it; lives as long as its actor."""

    def __init__(self, settings: ModifyJobSettings, inputs: ImageInputs) -> None:
        self.settings, self.inputs = settings, inputs
        self._actor = ImageActor(settings.actor, inputs)
        self._model = self._actor.model()

    def compute(self, shard: Shard) -> ModifiedShard:
        """Move every image of the shard towards its target."""
        axes = ModifyAxes.of(shard)
        work = partial(self._modified_batch, axes.target)
        batches, failed = self._actor.in_batches(self._model, axes.indices, work)
        return ModifiedShard(
            shard=shard,
            axes=replace(axes, indices=tuple(index for index in axes.indices if index not in failed)),
            settings=self.settings.modification,
            batches=batches,
            batch_size=self._model.batch_size,
            failed_images=self._actor.image_failures(failed),
        )

    def prefetch(self, shard: Shard) -> None:
        """Have the images of a shard that waits read."""
        self._actor.expect(shard.indices())

    def commit(self, modified: ModifiedShard, attempt: int) -> dict[str, Any]:
        """Encode the images and commit the shard; the summary says whether this attempt was the first."""
        rows = partial(result_table, modified, self.inputs, attempt)
        images = partial(image_table, modified)
        return commit_shard(
            self._actor.run, modified.shard, attempt, images, rows, failed_images=modified.failed_images
        )

    def try_one_step(self) -> None:
        """Take one step of an image that can be read towards class 0; keeps nothing."""
        indices = self.inputs.spread(NUM_PROBES)[:1]
        if indices:
            images = self._actor.images(indices, self._model.device)
            self._modify(0, images, ModificationSettings(num_steps=1))

    def seconds_per_image(self) -> float:
        """Measure the seconds that an image takes on this device towards one target, from a few steps."""

        def work(indices: Sequence[int]) -> None:
            self._modify(0, self._actor.images(indices, self._model.device), WARM_UP)

        num_steps = self.settings.modification.num_steps
        return self._actor.seconds_per_image(self._model, work) / WARM_UP.num_steps * num_steps

    def _modified_batch(self, target: int, indices: Sequence[int]) -> ModifiedBatch:
        images = self._actor.images(indices, self._model.device)
        image_rows = self._actor.stored_rows(indices)
        return ModifiedBatch(
            indices=tuple(indices),
            result=self._modify(target, images, self.settings.modification),
            image_rows=image_rows,
        )

    def _modify(self, target: int, images: Tensor, settings: ModificationSettings) -> Modified:
        # Pixels of 8 bits and a target of the plan: to check them, the host would wait for a GPU.
        return modify_checked(self._model, images, torch.full((len(images),), target), settings=settings)
