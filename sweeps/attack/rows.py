"""A shard of attacked images as the columns and images that are stored."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.attacks import AttackResult
from sweeps.images.columns import Columns, identity_columns, name_columns, png_columns, shard_columns
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard

# The target of an attack that aims at no class.
UNTARGETED = "untargeted"


@dataclass(frozen=True, kw_only=True)
class AttackedBatch:
    """One batch of a shard. `kept` and `shown` are rows: of stored images, and of stored directions."""

    indices: tuple[int, ...]  # [B], in the data set
    result: AttackResult
    kept: tuple[int, ...]  # [S]
    clean: Tensor  # [S, C, H, W]
    shown: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class AttackedShard:
    """A shard's batches: what `compute` hands to `commit`."""

    shard: Shard
    batches: list[AttackedBatch]
    batch_size: int

    @property
    def num_epsilons(self) -> int:
        """Rows an image."""
        return self.batches[0].result.epsilons.shape[1]

    @property
    def num_rows(self) -> int:
        """Rows of the shard."""
        return len(self.shard.cells) * self.num_epsilons


def attack_columns(
    attacked: AttackedShard, inputs: ImageInputs, image_file: str | None, attempt: int
) -> Columns:
    """One row an image and ε, image by image, as `schemas.attack_results` says."""
    checkpoint = inputs.checkpoints[attacked.shard.axes["checkpoint"]]
    indices = [int(index) for (index,) in attacked.shard.cells]
    per_image = identity_columns(inputs, indices) | _clean_columns(attacked)
    return {
        **shard_columns("attack", attacked.shard, attempt, inputs, checkpoint),
        **_identity(attacked.shard),
        "batch_size": attacked.batch_size,
        **{name: np.repeat(values, attacked.num_epsilons) for name, values in per_image.items()},
        **_adversarial_columns(attacked),
        **_image_names(attacked, image_file),
    }


def attack_image_columns(attacked: AttackedShard) -> Columns:
    """Clean images, directions and adversarial images, as `schemas.attack_images` says."""
    rows = [row for batch in attacked.batches for row in _images(attacked.shard, batch)]
    return {
        **_identity(attacked.shard),
        "image_index": [row.index for row in rows],
        **png_columns((row.key, row.image) for row in rows),
        "kind": [row.kind for row in rows],
        "epsilon": pa.array([row.epsilon for row in rows], type=pa.float64()),
    }


@dataclass(frozen=True, kw_only=True)
class _StoredImage:
    index: int
    kind: str
    epsilon: float | None
    key: str
    image: Tensor  # [C, H, W]


def _images(shard: Shard, batch: AttackedBatch) -> list[_StoredImage]:
    epsilons = batch.result.epsilons
    direction = batch.result.direction
    stored: list[tuple[int, str, float | None, Tensor]] = []
    if direction is not None:
        stored += [
            (row, "perturbation", None, 0.5 + 0.5 * direction[row].clamp(-1, 1)) for row in batch.shown
        ]
    for position, row in enumerate(batch.kept):
        stored.append((row, "clean", None, batch.clean[position]))
        for column, epsilon in enumerate(epsilons[row].tolist()):
            stored.append((row, "adversarial", epsilon, batch.result.kept[position, column]))
    return [
        _StoredImage(
            index=batch.indices[row],
            kind=kind,
            epsilon=None if epsilon is None or np.isnan(epsilon) else epsilon,
            key=image_key(shard, batch.indices[row], kind, epsilon),
            image=image,
        )
        for row, kind, epsilon, image in stored
    ]


def image_key(shard: Shard, index: int, kind: str, epsilon: float | None = None) -> str:
    """The key of an image in images/: sorts by method, checkpoint, target and image."""
    axes = shard.axes
    key = f"{axes['method']}-{axes['checkpoint']}-{axes['target']}-i{index:06d}-{kind}"
    return key if epsilon is None else f"{key}-e{epsilon:.9g}"


def _identity(shard: Shard) -> Columns:
    target = shard.axes["target"]
    return {
        "checkpoint": shard.axes["checkpoint"],
        "method": shard.axes["method"],
        "target": None if target == UNTARGETED else int(target),
    }


def _clean_columns(attacked: AttackedShard) -> Columns:
    clean = [batch.result.clean for batch in attacked.batches]
    zero = [batch.result.zero_gradient for batch in attacked.batches]
    return {
        "clean_prediction": torch.cat([each.prediction for each in clean]).numpy(),
        "clean_confidence": torch.cat([each.confidence for each in clean]).numpy(),
        "clean_margin": torch.cat([each.margin for each in clean]).numpy(),
        "zero_gradient": torch.cat(zero).numpy(),
    }


def _adversarial_columns(attacked: AttackedShard) -> Columns:
    results = [batch.result for batch in attacked.batches]
    epsilons = torch.cat([result.epsilons for result in results]).flatten().numpy()
    flat = {
        "adversarial_prediction": [result.adversarial.prediction for result in results],
        "adversarial_confidence": [result.adversarial.confidence for result in results],
        "adversarial_margin": [result.adversarial.margin for result in results],
        "loss": [result.loss for result in results],
        "linf": [result.linf for result in results],
        "l2": [result.l2 for result in results],
        "prediction_u8": [result.rounded_prediction for result in results],
        "linf_u8": [result.rounded_linf for result in results],
        "rechecked": [result.rechecked for result in results],
    }
    return {
        "epsilon": pa.array(epsilons, mask=np.isnan(epsilons)),
        **{name: torch.cat(parts).flatten().numpy() for name, parts in flat.items()},
    }


def _image_names(attacked: AttackedShard, image_file: str | None) -> Columns:
    """For each row the keys of its three images, null where one is not stored, and beside each key the file."""
    keys: dict[str, list[str | None]] = {"image": [], "perturbation": [], "clean": []}
    for batch in attacked.batches:
        kept, shown = set(batch.kept), set(batch.shown)
        for row, (index, epsilons) in enumerate(
            zip(batch.indices, batch.result.epsilons.tolist(), strict=True)
        ):
            clean = image_key(attacked.shard, index, "clean") if row in kept else None
            shows = image_key(attacked.shard, index, "perturbation") if row in shown else None
            for epsilon in epsilons:
                adversarial = image_key(attacked.shard, index, "adversarial", epsilon)
                keys["image"].append(adversarial if row in kept else None)
                keys["perturbation"].append(shows)
                keys["clean"].append(clean)
    names: Columns = {}
    for kind, column in keys.items():
        names |= name_columns(kind, column, image_file)
    return names
