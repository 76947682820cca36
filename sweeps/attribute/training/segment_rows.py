"""Attributions along segments of a training as the tables that are stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from attrib_core.attribution import METHODS
from attrib_core.datasets import Dataset
from attrib_core.gradient_sums import GradientSums
from sweeps.attribute.columns import attribution_columns
from sweeps.attribute.training.grid import Trial
from sweeps.attribute.training.panel import Followed, FollowSettings, Panel, State
from sweeps.images.png import encode_png
from sweeps.plan import Shard
from sweeps.schemas import SCHEMA_VERSION, training_images, training_results
from sweeps.store import columns_table

Columns = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FollowedShard:
    """A shard's segments: what `compute` hands to `commit`; `weights_digest` is of its first state."""

    shard: Shard
    trial: Trial
    settings: FollowSettings
    panel: Panel
    segments: Sequence[Followed]
    weights_digest: str

    @property
    def has_rows(self) -> bool:
        """Whether anything was recorded: a segment may lie between two states that are."""
        return any(segment.states or segment.sums is not None for segment in self.segments)


def image_key(shard: Shard, index: int) -> str:
    """The key of a panel image in images/: each shard stores its own, so that it can be read by itself."""
    return f"{shard.axes['trial']}-i{index:06d}-{shard.id.rpartition('-')[2]}"


def image_table(followed: FollowedShard) -> pa.Table:
    """The panel, as `schemas.training_images` says."""
    panel, trial = followed.panel, followed.trial
    keys = [image_key(followed.shard, index) for index in panel.indices]
    pixels = panel.pixels.transpose(0, 2, 3, 1)
    columns = {
        "key": keys,
        "image": [
            {"bytes": encode_png(np.ascontiguousarray(image)), "path": f"{key}.png"}
            for key, image in zip(keys, pixels, strict=True)
        ],
        "trial": trial.name,
        "image_index": list(panel.indices),
    }
    return columns_table(columns, training_images(), len(keys))


def result_table(followed: FollowedShard, dataset: Dataset, image_file: str | None, attempt: int) -> pa.Table:
    """Method by method, state by state, image by image, as `schemas.training_results` says."""
    panel = followed.panel
    schema = training_results((panel.pixels.shape[1], panel.pixels.shape[2], panel.pixels.shape[3]))
    common = _common_columns(followed, dataset, attempt) | {"image_file": image_file}
    per_image = _image_columns(followed, dataset)
    tables = [
        columns_table(
            common | _repeated(per_image, len(states)) | _state_columns(states) | columns,
            schema,
            len(states) * len(panel.indices),
        )
        for segment in followed.segments
        for states, columns in _blocks(segment, followed)
    ]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _blocks(segment: Followed, followed: FollowedShard) -> Iterator[tuple[list[State], Columns]]:
    """The states and columns of each method's rows."""
    settings = followed.settings
    nothing = pa.nulls(len(segment.states) * len(followed.panel.indices), pa.list_(pa.float64()))
    for method, packed in segment.packed.items():
        if not packed:  # no state of the segment was recorded
            continue
        yield (
            segment.states,
            {
                "method": method,
                "target": "loss" if METHODS[method].explains_loss else settings.target,
                "num_states": 1,
                "gradient_sum": nothing,
                "gradient_sum_of_squares": nothing,
                **{name: pa.concat_arrays([part[name] for part in packed]) for name in packed[0]},
            },
        )
    if segment.sums is not None and segment.last is not None:
        for method in settings.summed_methods:
            yield [segment.last], _summed_columns(method, segment.sums)


def _summed_columns(method: str, sums: GradientSums) -> Columns:
    is_variance = method == "gradient_variance"
    gradient, square = (_rows(tensor) for tensor in (sums.gradient, sums.square))
    return {
        "method": method,
        "target": "loss",
        "num_states": sums.num_states,
        "gradient_sum": gradient,
        "gradient_sum_of_squares": square if is_variance else pa.nulls(len(square), square.type),
        **attribution_columns((sums.square if is_variance else sums.gradient).float()),
    }


def _rows(values: torch.Tensor) -> pa.Array:
    """Values `[N, ...]` as N lists."""
    flat = values.flatten(1).numpy()
    offsets = np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.ravel()))


def _common_columns(followed: FollowedShard, dataset: Dataset, attempt: int) -> Columns:
    trial = followed.trial
    return {
        "sweep": "attribute_training",
        "model": trial.model,
        "model_digest": followed.weights_digest,
        "shard_id": followed.shard.id,
        "attempt": attempt,
        "schema_version": SCHEMA_VERSION,
        "trial": trial.name,
        "learning_rate": trial.settings.learning_rate,
        "seed": trial.settings.seed,
        "dataset": dataset.name,
        "split": dataset.split,
    }


def _image_columns(followed: FollowedShard, dataset: Dataset) -> dict[str, np.ndarray]:
    """Columns `[P]` of the panel."""
    indices = np.array(followed.panel.indices)
    labels = dataset.labels[indices]
    return {
        "image_index": indices,
        "image_key": np.array([image_key(followed.shard, index) for index in indices], dtype=object),
        "key": np.array([dataset.keys[index] for index in indices], dtype=object),
        "label": labels,
        "label_name": np.array(dataset.class_names, dtype=object)[labels],
    }


def _repeated(per_image: dict[str, np.ndarray], count: int) -> Columns:
    return {name: np.tile(values, count) for name, values in per_image.items()}


def _state_columns(states: Sequence[State]) -> Columns:
    """Columns of the panel's rows at each state."""
    num_images = len(states[0].prediction)
    per_state = {
        "step": np.array([state.step for state in states], dtype=np.int64),
        "epoch": np.array([state.epoch for state in states], dtype=np.int64),
    }
    losses = [state.training_loss for state in states for _ in range(num_images)]
    return {
        **{name: np.repeat(values, num_images) for name, values in per_state.items()},
        "training_loss": pa.array(losses, pa.float32()),
        "prediction": np.concatenate([state.prediction for state in states]),
        "confidence": np.concatenate([state.confidence for state in states]),
    }
