"""The actor's side of the generation sweep: one pinned model, its judges, and shards of cells."""

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attrib_core.classifiers import Checkpoint, Classifier, InputScaling, build_classifier
from attrib_core.execution import choose_execution, fastest_batch_size, run_batches
from attrib_core.generation import Cell, Evaluation, Generated, Recipe, evaluate, find_recipe, generate, to_8_bits
from sweeps.plan import Shard
from sweeps.schemas import SCHEMA_VERSION, generate_images, generate_results
from sweeps.store import RunDirectory, rows_table

# A CPU's caches prefer small batches, and from sixteen images on its kernels round otherwise.
BATCH_SIZES = {"cpu": (4, 8, 12), "cuda": (8, 16, 32, 64, 128, 256)}


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """What an actor needs to know; the weights come apart from it, through the object store."""

    output: str
    image_size: int
    input_scaling: InputScaling
    num_steps: int | None
    sweep_seed: int
    frames: frozenset[int]
    frame_every: int
    batch_size: int | None
    precision: str
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The generating model's checkpoint and the judges'."""

    model: Checkpoint
    judges: Mapping[str, Checkpoint]


@dataclass(frozen=True, kw_only=True)
class _Frame:
    cell: Cell
    step: int
    image: np.ndarray  # [H, W, C] uint8
    logits: np.ndarray  # [K]


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """One batch of a shard, ready to be written."""

    cells: Sequence[Cell]
    generated: Generated
    evaluation: Evaluation
    images: np.ndarray  # [B, H, W, C] uint8
    frames: list[_Frame]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A shard's batches, still on the actor: what `compute` hands to `commit`."""

    shard: Shard
    recipe_name: str
    num_steps: int
    batch_size: int
    batches: list[_Finished] = field(default_factory=list)


class GenerateJob:
    """Generates, judges and stores the images of a shard; lives as long as its actor."""

    def __init__(self, settings: GenerateSettings, weights: Weights) -> None:
        self.settings = settings
        self.execution = choose_execution(settings.device, settings.precision)
        self.classifier = self._prepare(weights.model).with_input_scaling(settings.input_scaling)
        self.judges = {name: self._prepare(checkpoint) for name, checkpoint in weights.judges.items()}
        self._batch_sizes: dict[str, int] = {}

    def compute(self, shard: Shard) -> Computed:
        """Optimises and judges every cell of the shard, in batches as large as memory allows."""
        name = shard.axes["recipe"]
        recipe = self.recipe(name)
        cells = [Cell(class_index=int(index), seed=int(seed)) for seed, index in shard.cells]
        batched = run_batches(cells, self._batch_size(name, len(cells)), partial(self._finish, recipe))
        return Computed(
            shard=shard,
            recipe_name=name,
            num_steps=recipe.num_steps,
            batch_size=batched.batch_size,
            batches=batched.results,
        )

    def commit(self, computed: Computed, attempt: int) -> dict[str, Any]:
        """Encodes the images and commits the shard; the summary says whether this attempt won."""
        run = self._run
        shard, start = computed.shard, time.perf_counter()
        images = rows_table(
            [row for batch in computed.batches for row in _image_rows(computed, batch)],
            generate_images(self.classifier.num_classes),
        )
        image_file = run.put_images(shard.id, attempt, images)
        rows = [row for batch in computed.batches for row in self._result_rows(computed, batch)]
        common = {"shard_id": shard.id, "attempt": attempt, "image_file": image_file}
        table = rows_table([row | common for row in rows], generate_results(tuple(self.judges)))
        won = run.commit(shard.id, table, image_file)
        return {"won": won, "cells": len(rows), "commit_seconds": time.perf_counter() - start}

    def recipe(self, name: str) -> Recipe:
        """The named recipe in the number of steps that the sweep asks for."""
        recipe, num_steps = find_recipe(name), self.settings.num_steps
        return recipe if num_steps is None else recipe.with_num_steps(num_steps)

    def seconds_per_cell(self, recipe_name: str, num_cells: int) -> float:
        """Seconds an image takes on this device, from a few steps at the fastest batch size."""
        batch_size = self._batch_size(recipe_name, num_cells)
        start = time.perf_counter()
        num_steps = self._warm_up(recipe_name, batch_size)
        seconds_per_step = (time.perf_counter() - start) / (num_steps * batch_size)
        return seconds_per_step * self.recipe(recipe_name).num_steps

    @cached_property
    def _run(self) -> RunDirectory:
        return RunDirectory(self.settings.output)

    def _prepare(self, checkpoint: Checkpoint) -> Classifier:
        return self.execution.prepare(build_classifier(checkpoint))

    def _batch_size(self, recipe_name: str, num_cells: int) -> int:
        """The batch size asked for, or the fastest one measured on this device for this recipe."""
        if self.settings.batch_size is not None:
            return self.settings.batch_size
        if recipe_name not in self._batch_sizes:
            candidates = [size for size in BATCH_SIZES[self.execution.device.type] if size <= num_cells]
            self._batch_sizes[recipe_name] = fastest_batch_size(
                partial(self._warm_up, recipe_name), candidates or [num_cells]
            )
        return self._batch_sizes[recipe_name]

    def _warm_up(self, recipe_name: str, batch_size: int) -> int:
        """Runs a few steps of the recipe on a batch, and returns how many."""
        recipe = find_recipe(recipe_name)
        # Two steps a stage: a recipe may work at other resolutions in each.
        short = recipe.with_num_steps(2 * len(recipe.stages))
        self._generate(short, [Cell(class_index=0, seed=seed) for seed in range(batch_size)])
        return short.num_steps

    def _generate(self, recipe: Recipe, cells: Sequence[Cell], observe: Any = None) -> Generated:
        return generate(
            self.classifier,
            recipe,
            cells,
            sweep_seed=self.settings.sweep_seed,
            image_size=self.settings.image_size,
            execution=self.execution,
            observe=observe,
        )

    def _finish(self, recipe: Recipe, cells: Sequence[Cell]) -> _Finished:
        start = time.perf_counter()
        frames: list[_Frame] = []
        generated = self._generate(recipe, cells, self._frame_taker(cells, frames))
        images = to_8_bits(generated.images)
        targets = torch.tensor([cell.class_index for cell in cells])
        evaluation = evaluate(self.classifier, self.judges, images, targets, self.execution)
        return _Finished(
            cells=cells,
            generated=generated,
            evaluation=evaluation,
            images=_channels_last(images),
            frames=frames,
            seconds=time.perf_counter() - start,
        )

    def _frame_taker(self, cells: Sequence[Cell], frames: list[_Frame]) -> Any:
        """An observer that keeps every k-th step of the chosen classes, with all logits; None without any."""
        chosen = [row for row, cell in enumerate(cells) if cell.class_index in self.settings.frames]
        if not chosen:
            return None

        def take(step: int, images: Tensor) -> None:
            if step % self.settings.frame_every == 0:
                pixels = to_8_bits(images[chosen].clamp(0, 1)).cpu()
                with torch.inference_mode():
                    logits = self.classifier(self.execution.images(pixels.float() / 255)).cpu().numpy()
                for row, image, row_logits in zip(chosen, _channels_last(pixels), logits, strict=True):
                    frames.append(_Frame(cell=cells[row], step=step, image=image, logits=row_logits))

        return take

    def _result_rows(self, computed: Computed, batch: _Finished) -> list[dict[str, Any]]:
        evaluation, generated = batch.evaluation, batch.generated
        return [
            {
                "sweep": "generate",
                "model": self.classifier.name,
                "model_digest": self.classifier.digest,
                "schema_version": SCHEMA_VERSION,
                "image_key": image_key(computed.recipe_name, cell, computed.num_steps),
                "class_index": cell.class_index,
                "seed": cell.seed,
                "recipe": computed.recipe_name,
                "wnid": self.classifier.wnids[cell.class_index] if self.classifier.wnids else "",
                "class_name": self.classifier.class_names[cell.class_index],
                "num_steps": computed.num_steps,
                "batch_size": computed.batch_size,
                "logit": evaluation.logit[row].item(),
                "probability": evaluation.probability[row].item(),
                "top1": evaluation.model.top1[row].item(),
                "top5_hit": evaluation.model.top5_hit[row].item(),
                "judge_top1": {name: verdict.top1[row].item() for name, verdict in evaluation.judges.items()},
                "judge_top5_hit": {
                    name: verdict.top5_hit[row].item() for name, verdict in evaluation.judges.items()
                },
                "total_variation": evaluation.total_variation[row].item(),
                "clipped_share": generated.clipped_share[row].item(),
                "logit_by_step": generated.logit_by_step[row].numpy(),
                "loss_by_step": generated.loss_by_step[row].numpy(),
                "argmax_by_step": generated.argmax_by_step[row].numpy(),
                "seconds": batch.seconds / len(batch.cells),
            }
            for row, cell in enumerate(batch.cells)
        ]


def image_key(recipe: str, cell: Cell, step: int) -> str:
    """The key of an image in images/: sorts by recipe, class, seed and step."""
    return f"{recipe}-c{cell.class_index:04d}-s{cell.seed:04d}-t{step:05d}"


def _image_rows(computed: Computed, batch: _Finished) -> list[dict[str, Any]]:
    final = [
        _Frame(cell=cell, step=computed.num_steps, image=image, logits=logits)
        for cell, image, logits in zip(
            batch.cells, batch.images, batch.evaluation.model.logits.numpy(), strict=True
        )
    ]
    frames = [frame for frame in batch.frames if frame.step != computed.num_steps]
    return [_image_row(computed.recipe_name, frame) for frame in final + frames]


def _image_row(recipe: str, frame: _Frame) -> dict[str, Any]:
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


def encode_png(image: np.ndarray) -> bytes:
    """A lossless PNG of uint8 `[H, W, C]`."""
    buffer = io.BytesIO()
    # Level 1 is 3 % larger than the default and nearly twice as fast on generated images.
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _channels_last(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).contiguous().numpy()
