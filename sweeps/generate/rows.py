"""A shard of generated images as the rows and images that are stored."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.generation import Cell, Evaluation, Generated
from attrib_core.generation.spectrum import ripple, sharpness
from sweeps.columns import Columns, common_columns, list_column, name_columns, png_columns
from sweeps.plan import Shard
from sweeps.schemas import generate_images
from sweeps.store import columns_table


@dataclass(frozen=True, kw_only=True)
class GenerateAxes:
    """What a shard is of: classes and seeds under one recipe."""

    recipe: str
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, shard: Shard) -> "GenerateAxes":
        """Return the axes of a shard, whose cells are pairs of seed and class."""
        cells = tuple(Cell(class_index=index, seed=seed) for seed, index in shard.points())
        return cls(recipe=shard.value("recipe", str), cells=cells)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """An image on its way: how it stood after `step` updates."""

    cell: Cell
    step: int
    image: Tensor  # [C, H, W] uint8
    logits: np.ndarray  # [K]


@dataclass(frozen=True, kw_only=True)
class JudgedBatch:
    """One batch of a shard: finished, judged, ready to be written."""

    cells: Sequence[Cell]
    generated: Generated
    evaluation: Evaluation
    images: Tensor  # [B, C, H, W] uint8
    frames: list[Frame]
    batch_size: int  # halved where memory ran out, which changes last bits of the images
    seconds: float


@dataclass(frozen=True, kw_only=True)
class JudgedShard:
    """A shard's batches, still on the actor: what `compute` hands to `commit`."""

    shard: Shard
    axes: GenerateAxes
    num_steps: int
    batches: list[JudgedBatch]


def result_columns(
    judged: JudgedShard, classifier: Classifier, image_file: str | None, attempt: int
) -> Columns:
    """Return one row a cell, as `schemas.generate_results` says."""
    axes = judged.axes
    keys = [image_key(axes.recipe, cell, judged.num_steps) for cell in axes.cells]
    model, digest = classifier.name, classifier.digest
    return {
        **common_columns("generate", judged.shard, attempt, model=model, digest=digest),
        **name_columns("image", keys, image_file),
        "recipe": axes.recipe,
        "num_steps": judged.num_steps,
        "batch_size": [batch.batch_size for batch in judged.batches for _ in batch.cells],
        **_class_columns(classifier, axes.cells),
        **_measured_columns(judged.batches),
    }


def image_table(judged: JudgedShard, num_classes: int) -> pa.Table:
    """Return the final image of each cell and the frames on the way to it, as `schemas.generate_images` says."""
    recipe = judged.axes.recipe
    frames = [frame for batch in judged.batches for frame in _frames(batch, judged.num_steps)]
    columns = {
        **png_columns((image_key(recipe, frame.cell, frame.step), frame.image) for frame in frames),
        "class_index": [frame.cell.class_index for frame in frames],
        "seed": [frame.cell.seed for frame in frames],
        "recipe": recipe,
        "step": [frame.step for frame in frames],
        "logits": [frame.logits for frame in frames],
    }
    return columns_table(columns, generate_images(num_classes), len(frames))


def key_word(name: str) -> str:
    """Return a name, such as a recipe's, as part of a key; a reference without the signs that names do not have.

    A digest tells apart references that differ in those signs.
    """
    word = re.sub(r"[^A-Za-z0-9_-]+", "_", name)
    return word if word == name else f"{word}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def image_key(recipe: str, cell: Cell, step: int) -> str:
    """Return the key of an image in images/: sorts by recipe, class, seed and step."""
    return f"{key_word(recipe)}-c{cell.class_index:04d}-s{cell.seed:04d}-t{step:05d}"


def _class_columns(classifier: Classifier, cells: Sequence[Cell]) -> Columns:
    classes = [cell.class_index for cell in cells]
    return {
        "class_index": classes,
        "seed": [cell.seed for cell in cells],
        "wnid": [classifier.wnids[index] for index in classes] if classifier.wnids else "",
        "class_name": [classifier.class_names[index] for index in classes],
    }


def _measured_columns(batches: Sequence[JudgedBatch]) -> Columns:
    evaluations = [batch.evaluation for batch in batches]
    generated = [batch.generated for batch in batches]
    return {
        "logit": _joined([each.logit for each in evaluations]),
        "probability": _joined([each.probability for each in evaluations]),
        "top1": _joined([each.model.top1 for each in evaluations]),
        "top5_hit": _joined([each.model.top5_hit for each in evaluations]),
        **_judge_columns(evaluations),
        "total_variation": _joined([each.total_variation for each in evaluations]),
        "clipped_share": _joined([each.clipped_share for each in generated]),
        **spectrum_columns(torch.cat([batch.images for batch in batches])),
        "logit_by_step": list_column(torch.cat([each.logit_by_step for each in generated])),
        "loss_by_step": list_column(torch.cat([each.loss_by_step for each in generated])),
        "argmax_by_step": list_column(torch.cat([each.argmax_by_step for each in generated]).int()),
        "seconds": [batch.seconds / len(batch.cells) for batch in batches for _ in batch.cells],
    }


def spectrum_columns(images: Tensor) -> Columns:
    """Return what the fine structure of images `[B, C, H, W]` uint8 is like; null where they are too small."""
    pixels = images.double() / 255
    return {
        "ripple": pa.array(ripple(pixels).numpy(), from_pandas=True),
        "sharpness": sharpness(pixels).numpy(),
    }


def _judge_columns(evaluations: Sequence[Evaluation]) -> Columns:
    """Return the judges' verdicts, a struct a row; none without judges."""
    verdicts = [dict(each.judges) for each in evaluations]
    if not verdicts[0]:
        return {}
    top1 = {name: _joined([each[name].top1 for each in verdicts]) for name in verdicts[0]}
    top5_hit = {name: _joined([each[name].top5_hit for each in verdicts]) for name in verdicts[0]}
    return {"judge_top1": _structs(top1), "judge_top5_hit": _structs(top5_hit)}


def _structs(columns: dict[str, np.ndarray]) -> list[dict[str, object]]:
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*(column.tolist() for column in columns.values()), strict=True)
    ]


def _joined(parts: Sequence[Tensor]) -> np.ndarray:
    joined: np.ndarray = torch.cat(list(parts)).cpu().numpy()
    return joined


def _frames(batch: JudgedBatch, num_steps: int) -> list[Frame]:
    """Return the finished images of a batch and, after them, its frames."""
    final = [
        Frame(cell=cell, step=num_steps, image=image, logits=logits)
        for cell, image, logits in zip(
            batch.cells, batch.images, batch.evaluation.model.logits.numpy(), strict=True
        )
    ]
    # The last frame may be the finished image itself, which has its row already.
    return final + [frame for frame in batch.frames if frame.step != num_steps]
