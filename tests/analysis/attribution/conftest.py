"""Run directories of attributions, whose values the tests choose."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from sweeps.schemas import (
    SCHEMA_VERSION,
    attribute_images,
    attribute_results,
    training_images,
    training_results,
)
from sweeps.store import RunDirectory, columns_table, rows_table

CLASS_NAMES = [f"class {index}" for index in range(4)]

Row = dict[str, Any]


def drawn_values(method: str, index: int, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Noise of both signs, of a size that float16 would lose without its scale."""
    return np.random.default_rng([index, *method.encode()]).normal(size=shape) * 1e-9


@dataclass(frozen=True, kw_only=True)
class AttributeContent:
    """What a run over a test set holds; image i has the label i mod 4. `values` gives attributions.

    `redrawn_values` gives those of checkpoints other than `trained`, `others` further columns of a row.
    """

    images: Sequence[int] = range(6)
    methods: Sequence[str] = ("gradient", "occlusion")
    targets: Sequence[str] = ("predicted",)
    checkpoints: Sequence[str] = ("trained",)
    shape: tuple[int, int, int] = (1, 8, 8)
    shard_size: int = 4
    stored: bool = True
    values: Callable[[str, int, tuple[int, int, int]], NDArray[np.float64]] = drawn_values
    prediction: Callable[[int], int] = field(default=lambda index: index % 4)
    scores: Callable[[str, int], tuple[float, float]] = field(default=lambda method, index: (0.25, 0.75))
    gap: Callable[[str, int], float | None] = field(default=lambda method, index: None)
    redrawn_values: Callable[[str, str, int, tuple[int, int, int]], NDArray[np.float64]] = field(
        default=lambda checkpoint, method, index, shape: drawn_values(f"{checkpoint}{method}", index, shape)
    )
    others: Callable[[str, str, int], Row] = field(default=lambda checkpoint, method, index: {})


@dataclass(frozen=True, kw_only=True)
class TrainingContent:
    """What a run along training holds: states 0 to `num_steps`, in segments; `missing` ones were not committed.

    Attributions are of each `every`-th state, sums over all of them.
    `values` gives the attribution of trial, method, step and image; sums are over those of `loss_gradient`.
    """

    trials: Sequence[str] = ("trial-a",)
    num_steps: int = 8
    segment: int = 4
    every: int = 1
    missing: Sequence[int] = ()
    panel: Sequence[int] = (0, 1, 5)
    methods: Sequence[str] = ("loss_gradient", "gradient_x_input")
    summed: Sequence[str] = ("training_integrated_gradient", "gradient_variance")
    shape: tuple[int, int, int] = (1, 8, 8)
    stored: bool = True
    values: Callable[[str, str, int, int, tuple[int, int, int]], NDArray[np.float64]] = field(
        default=lambda trial, method, step, index, shape: drawn_values(f"{trial}{method}{step}", index, shape)
    )
    prediction: Callable[[int, int], int] = field(default=lambda step, index: index % 4)


@pytest.fixture
def pixels() -> Callable[[int, tuple[int, int, int]], NDArray[np.uint8]]:
    """The image `[H, W, C]` of an index in all runs of these fixtures."""
    return image_pixels


def image_pixels(index: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    channels, height, width = shape
    generator = np.random.default_rng(index)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.fixture
def make_attribute_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run with the given fields of `AttributeContent` to a folder and returns where it is."""

    def make(folder: str = "attribute", **fields: Any) -> Path:
        content, run = AttributeContent(**fields), open_run(tmp_path / folder, "attribute")
        starts = range(0, len(content.images), content.shard_size)
        for checkpoint, start in product(content.checkpoints, starts):
            indices = content.images[start : start + content.shard_size]
            ending = "" if checkpoint == "trained" else f"-{checkpoint.replace(':', '-')}"
            shard_id = f"{'-'.join(content.methods)}-{start:06d}{ending}"
            cells = [(m, t, i) for i in indices for m in content.methods for t in content.targets]
            rows = [attribute_row(*cell, content, checkpoint) for cell in cells]
            commit(run, shard_id, rows, attribute_results(content.shape), attribute_images(), content)
        return tmp_path / folder

    return make


@pytest.fixture
def make_training_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run with the given fields of `TrainingContent` to a folder and returns where it is."""

    def make(folder: str = "training", **fields: Any) -> Path:
        content, run = TrainingContent(**fields), open_run(tmp_path / folder, "attribute_training")
        for trial in content.trials:
            for number, steps in enumerate(segments(content)):
                if number not in content.missing:
                    rows = list(training_rows(trial, steps, content))
                    schema = training_results(content.shape)
                    # Not in the order of the training: nothing may rest on names.
                    shard_id = f"{9 - number}-{trial}-{'-'.join(map(str, content.panel))}"
                    commit(run, shard_id, rows, schema, training_images(), content)
        return tmp_path / folder

    return make


def open_run(folder: Path, sweep: str) -> RunDirectory:
    run = RunDirectory(folder)
    run.update_sweep(lambda existing: {"sweep": sweep, "invocations": [{"class_names": CLASS_NAMES}]})
    return run


def segments(content: TrainingContent) -> list[range]:
    """The states of each segment; the untrained one belongs to the first."""
    ends = range(content.segment, content.num_steps + 1, content.segment)
    return [range(0 if end == content.segment else end - content.segment + 1, end + 1) for end in ends]


def commit(
    run: RunDirectory,
    shard_id: str,
    rows: Sequence[Row],
    schema: pa.Schema,
    images: pa.Schema,
    content: AttributeContent | TrainingContent,
) -> None:
    image_file = None
    if content.stored:
        keys = {row["image_key"]: row for row in rows}
        stored = [
            {"key": key, "image": png(image_pixels(row["image_index"], content.shape)), **row}
            for key, row in keys.items()
        ]
        stored = [{name: each[name] for name in images.names} | {"key": each["image_key"]} for each in stored]
        image_file = run.put_images(shard_id, 1, rows_table(stored, images))
    names = {"shard_id": shard_id, "image_file": image_file}
    columns = {
        field.name: [
            (row | names).get(field.name) if field.nullable else (row | names)[field.name] for row in rows
        ]
        for field in schema
        if field.name != "attribution"
    }
    if not content.stored:
        columns["image_key"] = [None] * len(rows)
    flat = np.concatenate([row["attribution"] for row in rows])
    columns["attribution"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), len(flat) // len(rows))
    columns = {
        name: pa.array(values, schema.field(name).type) if isinstance(values, list) else values
        for name, values in columns.items()
    }
    run.commit(shard_id, columns_table(columns, schema, len(rows)), image_file)


def png(pixels: NDArray[np.uint8]) -> Row:
    encoded = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(encoded, "PNG")
    return {"bytes": encoded.getvalue(), "path": "image.png"}


def packed(values: NDArray[np.float64]) -> Row:
    scale = float(np.abs(values).max())
    halves = (values / (scale or 1)).astype(np.float16).ravel()
    return {"attribution": halves, "attribution_scale": scale}


def image_row(index: int, prediction: int, sweep: str) -> Row:
    return {
        "sweep": sweep,
        "model": "fashion_deep",
        "model_digest": "d1",
        "attempt": 1,
        "schema_version": SCHEMA_VERSION,
        "dataset": "fashion_mnist",
        "split": "test",
        "image_index": index,
        "key": f"test/{index}",
        "label": index % 4,
        "label_name": CLASS_NAMES[index % 4],
        "prediction": prediction,
        "confidence": 0.875,
    }


def attribute_row(
    method: str, target: str, index: int, content: AttributeContent, checkpoint: str = "trained"
) -> Row:
    deletion, insertion = content.scores(method, index)
    if checkpoint == "trained":
        values = content.values(method, index, content.shape)
    else:
        values = content.redrawn_values(checkpoint, method, index, content.shape)
    return {
        **image_row(index, content.prediction(index), "attribute"),
        "image_key": f"image-{index}",
        "checkpoint": checkpoint,
        "method": method,
        "target": target,
        **packed(values),
        "completeness_gap": content.gap(method, index),
        "deletion_score": deletion,
        "insertion_score": insertion,
        "batch_size": 4,
        **content.others(checkpoint, method, index),
    }


def training_rows(trial: str, steps: range, content: TrainingContent) -> Iterator[Row]:
    """Method by method, state by state, image by image, then the sums, as the sweep writes them."""

    def value(method: str, step: int, index: int) -> NDArray[np.float64]:
        return content.values(trial, method, step, index, content.shape)

    for method in content.methods:
        for step in filter(lambda step: step % content.every == 0, steps):
            for index in content.panel:
                yield training_row(trial, method, step, index, content) | packed(value(method, step, index))
    for method in content.summed:
        for index in content.panel:
            states = np.stack([value("loss_gradient", step, index) for step in steps])
            squares = method == "gradient_variance"
            yield {
                **training_row(trial, method, steps[-1], index, content),
                **packed((states**2 if squares else states).sum(0)),
                "num_states": len(steps),
                "gradient_sum": states.sum(0).ravel(),
                "gradient_sum_of_squares": (states**2).sum(0).ravel() if squares else None,
            }


def training_row(trial: str, method: str, step: int, index: int, content: TrainingContent) -> Row:
    return {
        **image_row(index, content.prediction(step, index), "attribute_training"),
        "image_key": f"{trial}-{index}",
        "trial": trial,
        "learning_rate": 0.001,
        "seed": 0,
        "step": step,
        "epoch": 0,
        "training_loss": None if step == 0 else 2.0 / step,
        "method": method,
        "target": "loss",
        "num_states": 1,
        "gradient_sum": None,
        "gradient_sum_of_squares": None,
    }
