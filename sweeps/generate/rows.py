"""A shard of generated images as the rows and images that are stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attrib_core.classifiers import Classifier
from attrib_core.generation import Cell, Evaluation, Generated
from sweeps.images.png import encode_png
from sweeps.plan import Shard
from sweeps.schemas import SCHEMA_VERSION

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """An image on its way: how it stood after `step` updates."""

    cell: Cell
    step: int
    image: np.ndarray  # [H, W, C] uint8
    logits: np.ndarray  # [K]


@dataclass(frozen=True, kw_only=True)
class JudgedBatch:
    """One batch of a shard: finished, judged, ready to be written."""

    cells: Sequence[Cell]
    generated: Generated
    evaluation: Evaluation
    images: np.ndarray  # [B, H, W, C] uint8
    frames: list[Frame]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A shard's batches, still on the actor: what `compute` hands to `commit`."""

    shard: Shard
    recipe_name: str
    num_steps: int
    batch_size: int
    batches: list[JudgedBatch] = field(default_factory=list)


def result_rows(computed: Computed, classifier: Classifier, image_file: str, attempt: int) -> list[Row]:
    """One row a cell, as `schemas.generate_results` says."""
    common = {
        "sweep": "generate",
        "model": classifier.name,
        "model_digest": classifier.digest,
        "shard_id": computed.shard.id,
        "attempt": attempt,
        "schema_version": SCHEMA_VERSION,
        "image_file": image_file,
        "recipe": computed.recipe_name,
        "num_steps": computed.num_steps,
        "batch_size": computed.batch_size,
    }
    return [
        common
        | {"image_key": image_key(computed.recipe_name, cell, computed.num_steps)}
        | _class_columns(classifier, cell)
        | _measured_columns(batch, position)
        for batch in computed.batches
        for position, cell in enumerate(batch.cells)
    ]


def image_rows(computed: Computed) -> list[Row]:
    """The final image of each cell and the frames on the way to it, as `schemas.generate_images` says."""
    return [
        _image_row(computed.recipe_name, frame)
        for batch in computed.batches
        for frame in _all(computed, batch)
    ]


def image_key(recipe: str, cell: Cell, step: int) -> str:
    """The key of an image in images/: sorts by recipe, class, seed and step."""
    return f"{recipe}-c{cell.class_index:04d}-s{cell.seed:04d}-t{step:05d}"


def _class_columns(classifier: Classifier, cell: Cell) -> Row:
    return {
        "class_index": cell.class_index,
        "seed": cell.seed,
        "wnid": classifier.wnids[cell.class_index] if classifier.wnids else "",
        "class_name": classifier.class_names[cell.class_index],
    }


def _measured_columns(batch: JudgedBatch, position: int) -> Row:
    evaluation, generated = batch.evaluation, batch.generated
    return {
        "logit": evaluation.logit[position].item(),
        "probability": evaluation.probability[position].item(),
        "top1": evaluation.model.top1[position].item(),
        "top5_hit": evaluation.model.top5_hit[position].item(),
        **_judge_columns(evaluation, position),
        "total_variation": evaluation.total_variation[position].item(),
        "clipped_share": generated.clipped_share[position].item(),
        "logit_by_step": generated.logit_by_step[position].numpy(),
        "loss_by_step": generated.loss_by_step[position].numpy(),
        "argmax_by_step": generated.argmax_by_step[position].numpy(),
        "seconds": batch.seconds / len(batch.cells),
    }


def _judge_columns(evaluation: Evaluation, position: int) -> Row:
    judges = evaluation.judges
    if not judges:
        return {}
    return {
        "judge_top1": {name: verdict.top1[position].item() for name, verdict in judges.items()},
        "judge_top5_hit": {name: verdict.top5_hit[position].item() for name, verdict in judges.items()},
    }


def _all(computed: Computed, batch: JudgedBatch) -> list[Frame]:
    final = [
        Frame(cell=cell, step=computed.num_steps, image=image, logits=logits)
        for cell, image, logits in zip(
            batch.cells, batch.images, batch.evaluation.model.logits.numpy(), strict=True
        )
    ]
    return final + [frame for frame in batch.frames if frame.step != computed.num_steps]


def _image_row(recipe: str, frame: Frame) -> Row:
    key = image_key(recipe, frame.cell, frame.step)
    return {
        "key": key,
        "image": {"bytes": encode_png(frame.image), "path": f"{key}.png"},
        "class_index": frame.cell.class_index,
        "seed": frame.cell.seed,
        "recipe": recipe,
        "step": frame.step,
        "logits": frame.logits,
    }
