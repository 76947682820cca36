"""The actor's side of the adversarial sweep: shards of images under attack."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
import torch

from attrib_core.attacks import AttackBatch, AttackSettings, Keep, attack_checked, method_named
from attrib_core.attacks.foreign import Foreign
from attrib_core.attacks.minimum import GRID
from attrib_core.attacks.mixed_precision import attacked_model
from attrib_core.attacks.victims import Onlooker
from attrib_core.classifiers import build_classifier
from attrib_core.datasets import UnreadableImagesError
from attrib_core.prepared import PreparedModel
from sweeps.attack.rows import AttackAxes, AttackedBatch, AttackedShard, image_table, result_table
from sweeps.attack.transfer import PinnedVictims
from sweeps.attack.victim_rows import victim_table
from sweeps.attack.victims import AXIS, FOLDER, AttackInputs, victims_of
from sweeps.commit import commit_shard
from sweeps.images.actor import ActorSettings, ImageActor
from sweeps.plan import Shard

NUM_CALIBRATION_IMAGES = 256
# Of methods that are done with some images early, so that the passes of those that are left stay full. On a GPU a
# batch is a pass: it holds many more images, at every ε.
PASSES_OF_LEAVING_IMAGES = 5
NUM_FOREIGN_IMAGES = 8  # that `--plan` tries somebody else's attack on


@dataclass(frozen=True, kw_only=True)
class AttackJobSettings:
    """What an actor needs to know; weights and data come apart from it, through the object store."""

    actor: ActorSettings
    attack: AttackSettings
    save_perturbations: frozenset[int]


class AttackJob:
    """Attacks the images of a shard and stores what came of it; lives as long as its actor."""

    def __init__(self, settings: AttackJobSettings, inputs: AttackInputs) -> None:
        self.settings, self.inputs = settings, inputs
        self._actor = ImageActor(settings.actor, inputs)
        self._victims = PinnedVictims(settings.actor, inputs)
        self._calibrated: dict[tuple[str, tuple[float, ...]], PreparedModel] = {}

    def compute(self, shard: Shard) -> AttackedShard:
        """Attack every image of the shard, and show the adversarial images to the shard's victims."""
        axes = AttackAxes.of(shard)
        model = self._model(axes.checkpoint, axes.epsilons)
        victims = self._victims_of(victims_of(shard, self.inputs), model, axes.epsilons)
        attack = partial(self._attack, model, victims, axes, stores_images=AXIS not in shard.axes)
        leave = model.device.type == "cpu" and method_named(axes.method).images_leave
        batches, failed = self._actor.in_batches(
            model, axes.indices, attack, PASSES_OF_LEAVING_IMAGES if leave else 1
        )
        return AttackedShard(
            shard=shard,
            axes=replace(axes, indices=tuple(index for index in axes.indices if index not in failed)),
            batches=batches,
            batch_size=model.batch_size,
            victims=tuple(victims),
            failed_images=self._actor.image_failures(failed),
        )

    def prefetch(self, shard: Shard) -> None:
        """Have the images of a shard that waits read."""
        self._actor.expect(shard.indices())

    def commit(self, attacked: AttackedShard, attempt: int) -> dict[str, Any]:
        """Encode the images and commit the shard; the summary says whether this attempt was the first."""
        run, shard, images = self._actor.run, attacked.shard, partial(image_table, attacked)
        rows: Callable[[str | None], pa.Table] = partial(result_table, attacked, self.inputs, attempt)
        if AXIS in shard.axes:
            run, rows = run.beside(FOLDER), partial(victim_table, attacked, self.inputs, attempt)
        return commit_shard(run, shard, attempt, images, rows, failed_images=attacked.failed_images)

    def seconds_per_image(self, method: str, epsilons: tuple[float, ...]) -> float:
        """Measure the seconds that an image takes under a method on this device."""
        found = method_named(method)
        epsilons = GRID if found.seeks_minimum else epsilons
        model = self._model(next(iter(self.inputs.checkpoints)), epsilons)
        victims = self._victims_of(tuple(self.inputs.victims), model, epsilons).values()

        def work(indices: Sequence[int], at: Sequence[float] = epsilons) -> None:
            batch = self._batch(model.device, indices)
            onlookers = [Onlooker(victim, batch.images) for victim in victims]
            attack_checked(model, batch, method, at, self.settings.attack, onlookers=onlookers)

        if not isinstance(found, Foreign):
            return self._actor.seconds_per_image(model, work)
        # A batch of somebody else's attack may take minutes: a few images at one ε must do.
        indices = self.inputs.spread(NUM_FOREIGN_IMAGES)
        start = time.perf_counter()
        work(indices, [max(epsilons)])
        runs = 1 if found.seeks_minimum else sum(epsilon > 0 for epsilon in epsilons)
        return (time.perf_counter() - start) / len(indices) * runs

    def _model(self, checkpoint: str, epsilons: tuple[float, ...]) -> PreparedModel:
        """Return the network under one set of weights, calibrated for these ε where precision is mixed."""
        if self.settings.actor.precision != "mixed":
            return self._actor.model(checkpoint)
        key = checkpoint, epsilons
        if key not in self._calibrated:
            self._calibrated[key] = attacked_model(
                build_classifier(self.inputs.checkpoints[checkpoint]),
                "mixed",
                self._calibration,
                epsilons,
                device=self.settings.actor.device,
                batch_size=self._actor.batch_size,
            )
        return self._calibrated[key]

    @cached_property
    def _calibration(self) -> AttackBatch:
        # Hundreds of photographs take a second to be decoded.
        return self._batch(torch.device("cpu"), self.inputs.spread(NUM_CALIBRATION_IMAGES))

    def _victims_of(
        self, names: Sequence[str], model: PreparedModel, epsilons: tuple[float, ...]
    ) -> dict[str, PreparedModel]:
        calibration = self._calibration if names and self.settings.actor.precision == "mixed" else None
        return {name: self._victims.prepared(name, model, calibration, epsilons) for name in names}

    def _attack(
        self,
        model: PreparedModel,
        victims: Mapping[str, PreparedModel],
        axes: AttackAxes,
        indices: Sequence[int],
        *,
        stores_images: bool,
    ) -> AttackedBatch:
        image_rows = self._actor.stored_rows(indices) if stores_images else ()
        direction_rows = (
            self._actor.stored_rows(indices, self.settings.save_perturbations) if stores_images else ()
        )
        batch = self._batch(model.device, indices, axes.target)
        onlookers = {name: Onlooker(victim, batch.images) for name, victim in victims.items()}
        keep = Keep(images=image_rows, directions=direction_rows)
        result = attack_checked(
            model, batch, axes.method, axes.epsilons, self.settings.attack, keep, list(onlookers.values())
        )
        if any(result.failures):
            # Their rows would pass for those of robust images.
            raise UnreadableImagesError(
                {index: reason for index, reason in zip(indices, result.failures, strict=True) if reason}
            )
        return AttackedBatch(
            indices=tuple(indices),
            result=result,
            image_rows=image_rows,
            direction_rows=direction_rows if result.direction is not None else (),
            transferred={name: onlooker.answers(batch.labels) for name, onlooker in onlookers.items()},
        )

    def _batch(self, device: torch.device, indices: Sequence[int], target: int | None = None) -> AttackBatch:
        """Return images under attack: of 8-bit pixels and labels that fit, so that nothing is to be checked."""
        labels = self._actor.labels(indices, device)
        return AttackBatch(
            images=self._actor.images(indices, device),
            labels=labels,
            targets=None if target is None else torch.full_like(labels, target),
            keys=tuple(indices),
        )
