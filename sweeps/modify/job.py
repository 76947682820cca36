"""The actor's side of the sweep that modifies real images: a pinned classifier and shards of images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from attrib_core.attacks import AttackedModel
from attrib_core.classifiers import build_classifier
from attrib_core.execution import Precision, choose_execution, run_batches
from attrib_core.generation.modification import ModificationSettings, Modified, modify
from sweeps.commit import commit_shard
from sweeps.images.batch_sizes import fastest_alike, whole_batch_size
from sweeps.images.inputs import ImageInputs
from sweeps.modify.rows import ModifiedBatch, ModifiedShard, ModifyAxes, image_table, result_table
from sweeps.plan import Shard
from sweeps.store import RunDirectory

# Steps of a warm-up; the passes around the steps weigh a little more in it.
WARM_UP = ModificationSettings(num_steps=3)


@dataclass(frozen=True, kw_only=True)
class ModifyJobSettings:
    """What an actor needs to know; weights and data come apart from it, through the object store."""

    output: str
    modification: ModificationSettings
    precision: Precision
    save_images: frozenset[int]
    batch_size: int | None
    device: str | None = None


class ModifyJob:
    """Modifies the images of a shard and stores what came of it; lives as long as its actor."""

    def __init__(self, settings: ModifyJobSettings, inputs: ImageInputs) -> None:
        self.settings, self.inputs = settings, inputs
        self.execution = choose_execution(settings.device, settings.precision)
        self.classifier = self.execution.prepare(build_classifier(inputs.checkpoint))

    def compute(self, shard: Shard) -> ModifiedShard:
        """Moves every image of the shard towards its target, in batches as large as memory allows."""
        axes = ModifyAxes.of(shard)
        batched = run_batches(axes.indices, self.batch_size(), partial(self._modified_batch, axes.target))
        return ModifiedShard(
            shard=shard,
            axes=axes,
            settings=self.settings.modification,
            batches=batched.results,
            batch_size=batched.batch_size,
        )

    def commit(self, modified: ModifiedShard, attempt: int) -> dict[str, Any]:
        """Encodes the images and commits the shard; the summary says whether this attempt won."""
        rows = partial(result_table, modified, self.inputs, attempt)
        return commit_shard(self._run, modified.shard, attempt, partial(image_table, modified), rows)

    def batch_size(self) -> int:
        """The batch size asked for, or the fastest one on this device that changes no bit of a result."""
        asked = self.settings.batch_size
        return self._fastest_batch_size if asked is None else whole_batch_size(asked)

    def seconds_per_image(self) -> float:
        """Seconds an image takes on this device towards one target, from a few steps of one batch."""
        batch_size = self.batch_size()
        start = time.perf_counter()
        self._warm_up(batch_size)
        seconds_per_step = (time.perf_counter() - start) / (WARM_UP.num_steps * batch_size)
        return seconds_per_step * self.settings.modification.num_steps

    @cached_property
    def _run(self) -> RunDirectory:
        return RunDirectory(self.settings.output)

    @cached_property
    def _fastest_batch_size(self) -> int:
        model = AttackedModel(self.classifier, self.execution)
        return fastest_alike(model, self._probes, self._warm_up)

    def _warm_up(self, batch_size: int) -> None:
        self._modify(0, self._probes(batch_size), WARM_UP)

    def _probes(self, count: int) -> Tensor:
        return self.inputs.images(self.inputs.spread(count), self.execution.device)

    def _modified_batch(self, target: int, indices: Sequence[int]) -> ModifiedBatch:
        images = self.inputs.images(indices, self.execution.device)
        image_rows = [row for row, index in enumerate(indices) if index in self.settings.save_images]
        return ModifiedBatch(
            indices=tuple(indices),
            result=self._modify(target, images, self.settings.modification),
            image_rows=tuple(image_rows),
            clean=images[image_rows].cpu(),
        )

    def _modify(self, target: int, images: Tensor, settings: ModificationSettings) -> Modified:
        targets = torch.full((len(images),), target)
        return modify(self.classifier, images, targets, settings=settings, execution=self.execution)
