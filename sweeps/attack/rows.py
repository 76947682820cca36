"""A shard of attacked images as the columns and images that are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.attacks import AttackResult, Transferred, method_named
from attrib_core.attacks.minimum import GRID
from attrib_core.generation import to_8_bits
from sweeps.attack.transfer import victim_columns
from sweeps.columns import Columns, name_columns, png_columns
from sweeps.images.columns import image_columns, shard_columns
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard
from sweeps.schemas import attack_images, attack_results
from sweeps.store import ImageFailure, columns_table

# The target of an attack that aims at no class.
UNTARGETED = "untargeted"


@dataclass(frozen=True, kw_only=True)
class AttackAxes:
    """What a shard is of: one method on one checkpoint towards one target, at these ε."""

    method: str
    checkpoint: str
    target: int | None  # the class aimed at
    epsilons: tuple[float, ...]
    seeks_minimum: bool
    indices: tuple[int, ...]  # of the images, in the data set

    @classmethod
    def of(cls, shard: Shard) -> "AttackAxes":
        """Return the axes of a shard. A method that seeks the minimum walks along a grid of its own."""
        method = shard.value("method", str)
        seeks_minimum = method_named(method).seeks_minimum
        return cls(
            method=method,
            checkpoint=shard.value("checkpoint", str),
            target=None if shard.axes["target"] == UNTARGETED else shard.value("target", int),
            epsilons=GRID if seeks_minimum else shard.values("epsilon", float),
            seeks_minimum=seeks_minimum,
            indices=shard.indices(),
        )


@dataclass(frozen=True, kw_only=True)
class AttackedBatch:
    """One batch of a shard, with the rows whose images and whose directions the result holds."""

    indices: tuple[int, ...]  # [B], in the data set
    result: AttackResult
    image_rows: tuple[int, ...]  # [S]
    direction_rows: tuple[int, ...]  # [D]
    transferred: Mapping[str, Transferred]  # by victim


@dataclass(frozen=True, kw_only=True)
class AttackedShard:
    """A shard's batches: what `compute` hands to `commit`."""

    shard: Shard
    axes: AttackAxes
    batches: list[AttackedBatch]
    batch_size: int
    victims: tuple[str, ...] = ()
    failed_images: Sequence[ImageFailure] = ()  # the shard's other images, of which there are no rows

    @property
    def num_epsilons(self) -> int:
        """Rows an image. An attack that finds its own ε has one."""
        return self.batches[0].result.epsilons.shape[1]


def result_table(
    attacked: AttackedShard, inputs: ImageInputs, attempt: int, image_file: str | None
) -> pa.Table:
    """Return one row an image and ε, image by image, as `schemas.attack_results` says."""
    schema = attack_results(attacked.victims)
    if not attacked.batches:  # no image could be used
        return schema.empty_table()
    axes = attacked.axes
    per_image = image_columns(inputs, axes.indices) | _clean_columns(attacked)
    columns = {
        **shard_columns("attack", attacked.shard, attempt, inputs, inputs.checkpoints[axes.checkpoint]),
        **axis_columns(axes),
        "seeks_minimum": axes.seeks_minimum,
        "batch_size": attacked.batch_size,
        **{name: np.repeat(values, attacked.num_epsilons) for name, values in per_image.items()},
        **_adversarial_columns(attacked),
        **victim_columns([batch.transferred for batch in attacked.batches], attacked.num_epsilons),
        **_image_names(attacked, image_file),
    }
    return columns_table(columns, schema, len(axes.indices) * attacked.num_epsilons)


def image_table(attacked: AttackedShard) -> pa.Table:
    """Return clean images, directions and adversarial images, as `schemas.attack_images` says."""
    images = [image for batch in attacked.batches for image in _images(attacked.axes, batch)]
    columns = {
        **axis_columns(attacked.axes),
        "image_index": [image.index for image in images],
        **png_columns((image.key, image.pixels) for image in images),
        "kind": [image.kind for image in images],
        "epsilon": [image.epsilon for image in images],
    }
    return columns_table(columns, attack_images(), len(images))


@dataclass(frozen=True, kw_only=True)
class _StoredImage:
    index: int
    kind: str
    epsilon: float | None
    key: str
    pixels: Tensor  # [C, H, W], in [0, 1] or of 8 bits


def _images(axes: AttackAxes, batch: AttackedBatch) -> list[_StoredImage]:
    epsilons = batch.result.epsilons
    direction = batch.result.direction
    stored: list[tuple[int, str, float | None, Tensor]] = []
    if direction is not None:
        maps = to_8_bits(
            0.5 + 0.5 * direction.clamp(-1, 1)
        )  # of all images at once: one by one takes longest
        stored += [
            (row, "perturbation", None, pixels)
            for row, pixels in zip(batch.direction_rows, maps, strict=True)
        ]
    for position, row in enumerate(batch.image_rows):
        stored.append((row, "clean", None, batch.result.clean_images[position]))
        for column, epsilon in enumerate(epsilons[row].tolist()):
            stored.append((row, "adversarial", epsilon, batch.result.adversarial_images[position, column]))
    return [
        _StoredImage(
            index=batch.indices[row],
            kind=kind,
            epsilon=None if epsilon is None or np.isnan(epsilon) else epsilon,
            key=image_key(axes, batch.indices[row], kind, epsilon),
            pixels=pixels,
        )
        for row, kind, epsilon, pixels in stored
    ]


def image_key(axes: AttackAxes, index: int, kind: str, epsilon: float | None = None) -> str:
    """Return the key of an image in images/: sorts by method, checkpoint, target and image.

    A slash in a method (`step_size=1/255`, `folder/file.py:name`) is written as in a URL, since a key becomes a
    file name.
    """
    target = UNTARGETED if axes.target is None else axes.target
    key = f"{quote(axes.method, safe=':=')}-{axes.checkpoint}-{target}-i{index:06d}-{kind}"
    return key if epsilon is None else f"{key}-e{epsilon_text(epsilon)}"


def epsilon_text(epsilon: float) -> str:
    """Return an ε as keys of images hold it, in nine digits."""
    return f"{epsilon:.9g}"


def axis_columns(axes: AttackAxes) -> Columns:
    """Return the columns that say which attack it was."""
    return {"checkpoint": axes.checkpoint, "method": axes.method, "target": axes.target}


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
    flat = {
        "adversarial_prediction": [result.adversarial.prediction for result in results],
        "adversarial_confidence": [result.adversarial.confidence for result in results],
        "adversarial_margin": [result.adversarial.margin for result in results],
        "loss": [result.loss for result in results],
        "linf": [result.linf for result in results],
        "l2": [result.l2 for result in results],
        "l1": [result.l1 for result in results],
        "l0": [result.l0 for result in results],
        "prediction_u8": [result.rounded_prediction for result in results],
        "linf_u8": [result.rounded_linf for result in results],
        "gradient_fallback": [result.gradient_fallback for result in results],
        "rechecked": [result.rechecked for result in results],
        "num_forwards": [result.num_forwards for result in results],
        "num_backwards": [result.num_backwards for result in results],
    }
    return {
        "epsilon": epsilon_column(attacked),
        **{name: torch.cat(parts).flatten().numpy() for name, parts in flat.items()},
    }


def epsilon_column(attacked: AttackedShard) -> pa.Array:
    """Return ε, one row an image and ε; null where no ε succeeds."""
    epsilons = torch.cat([batch.result.epsilons for batch in attacked.batches]).flatten().numpy()
    return pa.array(epsilons, mask=np.isnan(epsilons))


def _image_names(attacked: AttackedShard, image_file: str | None) -> Columns:
    """Return for each row the keys of its three images, null where one is not stored, and the file of each."""
    keys: dict[str, list[str | None]] = {"image": [], "perturbation": [], "clean": []}
    for batch in attacked.batches:
        has_images, has_direction = set(batch.image_rows), set(batch.direction_rows)
        for row, (index, epsilons) in enumerate(
            zip(batch.indices, batch.result.epsilons.tolist(), strict=True)
        ):
            clean = image_key(attacked.axes, index, "clean") if row in has_images else None
            perturbation = image_key(attacked.axes, index, "perturbation") if row in has_direction else None
            keys["image"] += [
                image_key(attacked.axes, index, "adversarial", epsilon) if row in has_images else None
                for epsilon in epsilons
            ]
            keys["perturbation"] += [perturbation] * len(epsilons)
            keys["clean"] += [clean] * len(epsilons)
    names: Columns = {}
    for kind, column in keys.items():
        names |= name_columns(kind, column, image_file)
    return names
