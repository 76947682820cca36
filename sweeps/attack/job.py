"""The actor's side of the adversarial sweep: pinned classifiers and shards of images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from attrib_core.attacks import AttackBatch, AttackedModel, AttackSettings, attack
from attrib_core.attacks.precision import AttackPrecision, attacked_model
from attrib_core.classifiers import build_classifier
from attrib_core.execution import choose_execution, run_batches
from sweeps.attack.rows import AttackAxes, AttackedBatch, AttackedShard, image_table, result_table
from sweeps.commit import commit_shard
from sweeps.images.batch_sizes import fastest_alike, whole_batch_size
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard
from sweeps.store import RunDirectory

# Values of ε in a warm-up: about the share of gradients and of forward passes that the default grid has.
WARM_UP_EPSILONS = (0.01, 0.02, 0.03)
NUM_CALIBRATION_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class AttackJobSettings:
    """What an actor needs to know; weights and data come apart from it, through the object store."""

    output: str
    attack: AttackSettings
    precision: AttackPrecision
    save_images: frozenset[int]
    save_perturbations: frozenset[int]
    batch_size: int | None
    device: str | None = None


class AttackJob:
    """Attacks the images of a shard and stores what came of it; lives as long as its actor."""

    def __init__(self, settings: AttackJobSettings, inputs: ImageInputs) -> None:
        self.settings, self.inputs = settings, inputs
        precision = "float32" if settings.precision == "mixed" else settings.precision
        self._device = choose_execution(settings.device, precision).device
        self._models: dict[tuple[str, tuple[float, ...]], AttackedModel] = {}

    def compute(self, shard: Shard) -> AttackedShard:
        """Attacks every image of the shard, in batches as large as memory allows."""
        axes = AttackAxes.of(shard)
        batched = run_batches(axes.indices, self.batch_size(), partial(self._attack, axes))
        return AttackedShard(shard=shard, axes=axes, batches=batched.results, batch_size=batched.batch_size)

    def commit(self, attacked: AttackedShard, attempt: int) -> dict[str, Any]:
        """Encodes the images and commits the shard; the summary says whether this attempt won."""
        rows = partial(result_table, attacked, self.inputs, attempt)
        return commit_shard(self._run, attacked.shard, attempt, partial(image_table, attacked), rows)

    def batch_size(self) -> int:
        """The batch size asked for, or the fastest one on this device that changes no bit of a result."""
        asked = self.settings.batch_size
        if asked is None:
            return self._fastest_batch_size
        return whole_batch_size(asked)

    def seconds_per_image(self, method: str, epsilons: tuple[float, ...]) -> float:
        """Seconds an image takes under a method on this device, from one batch."""
        model = self.model(next(iter(self.inputs.checkpoints)), epsilons)
        batch = self._batch(self.inputs.spread(self.batch_size()))
        attack(model, batch, method, epsilons[:1], self.settings.attack)
        start = time.perf_counter()
        attack(model, batch, method, epsilons, self.settings.attack)
        return (time.perf_counter() - start) / len(batch.images)

    def model(self, checkpoint: str, epsilons: tuple[float, ...]) -> AttackedModel:
        """The network under one set of weights, prepared once, and calibrated for these ε where that matters."""
        is_mixed = self.settings.precision == "mixed"
        key = (checkpoint, epsilons if is_mixed else ())
        if key not in self._models:
            classifier = build_classifier(self.inputs.checkpoints[checkpoint])
            # Hundreds of photographs take a second to be decoded.
            calibration = self._batch(self.inputs.spread(NUM_CALIBRATION_IMAGES)) if is_mixed else None
            self._models[key] = attacked_model(
                classifier, self.settings.precision, calibration, epsilons, device=self._device
            )
        return self._models[key]

    @cached_property
    def _run(self) -> RunDirectory:
        return RunDirectory(self.settings.output)

    @cached_property
    def _fastest_batch_size(self) -> int:
        model = self.model(next(iter(self.inputs.checkpoints)), WARM_UP_EPSILONS)
        return fastest_alike(model, self._probes, partial(self._warm_up, model))

    def _probes(self, count: int) -> Tensor:
        return self.inputs.images(self.inputs.spread(count), self._device)

    def _warm_up(self, model: AttackedModel, batch_size: int) -> None:
        attack(model, self._batch(self.inputs.spread(batch_size)), "fgsm", WARM_UP_EPSILONS)

    def _attack(self, axes: AttackAxes, indices: Sequence[int]) -> AttackedBatch:
        image_rows = [row for row, index in enumerate(indices) if index in self.settings.save_images]
        direction_rows = [
            row for row, index in enumerate(indices) if index in self.settings.save_perturbations
        ]
        batch = self._batch(indices, axes.target)
        model = self.model(axes.checkpoint, axes.epsilons)
        result = attack(model, batch, axes.method, axes.epsilons, self.settings.attack, image_rows)
        return AttackedBatch(
            indices=tuple(indices),
            result=result,
            image_rows=tuple(image_rows),
            clean=batch.images[image_rows].cpu(),
            direction_rows=tuple(direction_rows) if result.direction is not None else (),
        )

    def _batch(self, indices: Sequence[int], target: int | None = None) -> AttackBatch:
        """Images of the data set, on the device."""
        images = self.inputs.images(indices, self._device)
        labels = torch.from_numpy(self.inputs.labels[list(indices)]).to(self._device)
        targets = None if target is None else torch.full_like(labels, target)
        return AttackBatch(images=images, labels=labels, targets=targets, keys=tuple(indices))
