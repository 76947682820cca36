"""The actor's side of the adversarial sweep: pinned classifiers and shards of images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from attrib_core.attacks import METHODS, AttackBatch, AttackedModel, AttackSettings, attack
from attrib_core.attacks.minimum import GRID
from attrib_core.attacks.precision import AttackPrecision, attacked_model
from attrib_core.classifiers import build_classifier
from attrib_core.execution import choose_execution, run_batches
from sweeps.attack.rows import (
    UNTARGETED,
    AttackedBatch,
    AttackedShard,
    attack_columns,
    attack_image_columns,
)
from sweeps.images.batch_sizes import fastest_alike, whole_batch_size
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard
from sweeps.schemas import attack_images, attack_results
from sweeps.store import RunDirectory, columns_table

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
        # A method that seeks the minimum walks along a grid of its own.
        seeks = METHODS[shard.axes["method"]].seeks_minimum
        epsilons = GRID if seeks else tuple(float(epsilon) for epsilon in shard.axes["epsilon"])
        indices = [int(index) for (index,) in shard.cells]
        batched = run_batches(indices, self.batch_size(), partial(self._attack, shard, epsilons))
        return AttackedShard(shard=shard, batches=batched.results, batch_size=batched.batch_size)

    def commit(self, attacked: AttackedShard, attempt: int) -> dict[str, Any]:
        """Encodes the images and commits the shard; the summary says whether this attempt won."""
        shard, start = attacked.shard, time.perf_counter()
        images = attack_image_columns(attacked)
        image_file = None
        if images["key"]:
            table = columns_table(images, attack_images(), len(images["key"]))
            image_file = self._run.put_images(shard.id, attempt, table)
        columns = attack_columns(attacked, self.inputs, image_file, attempt)
        rows = columns_table(columns, attack_results(), attacked.num_rows)
        won = self._run.commit(shard.id, rows, image_file)
        return {"won": won, "cells": len(shard.cells), "commit_seconds": time.perf_counter() - start}

    def batch_size(self) -> int:
        """The batch size asked for, or the fastest one on this device that changes no bit of a result."""
        asked = self.settings.batch_size
        if asked is None:
            return self._fastest_batch_size
        return whole_batch_size(asked)

    def seconds_per_image(self, method: str, epsilons: tuple[float, ...]) -> float:
        """Seconds an image takes under a method on this device, from one batch."""
        model = self.model(next(iter(self.inputs.checkpoints)), epsilons)
        batch = self._batch(self.inputs.spread(self.batch_size()), UNTARGETED)
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
            calibration = (
                self._batch(self.inputs.spread(NUM_CALIBRATION_IMAGES), UNTARGETED) if is_mixed else None
            )
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
        attack(model, self._batch(self.inputs.spread(batch_size), UNTARGETED), "fgsm", WARM_UP_EPSILONS)

    def _attack(self, shard: Shard, epsilons: tuple[float, ...], indices: Sequence[int]) -> AttackedBatch:
        keep = [row for row, index in enumerate(indices) if index in self.settings.save_images]
        shows = [row for row, index in enumerate(indices) if index in self.settings.save_perturbations]
        batch = self._batch(indices, shard.axes["target"])
        model = self.model(shard.axes["checkpoint"], epsilons)
        result = attack(model, batch, shard.axes["method"], epsilons, self.settings.attack, keep)
        return AttackedBatch(
            indices=tuple(indices),
            result=result,
            kept=tuple(keep),
            clean=batch.images[keep].cpu(),
            shown=tuple(shows) if result.direction is not None else (),
        )

    def _batch(self, indices: Sequence[int], target: int | str) -> AttackBatch:
        """Images of the data set, on the device."""
        images = self.inputs.images(indices, self._device)
        labels = torch.from_numpy(self.inputs.labels[list(indices)]).to(self._device)
        targets = None if target == UNTARGETED else torch.full_like(labels, int(target))
        return AttackBatch(images=images, labels=labels, targets=targets, keys=tuple(indices))
