"""Attributions along segments of a training as the tables that are stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from attrib_core.attribution import method_named
from attrib_core.datasets import Dataset
from attrib_core.training import GradientSums
from sweeps.attribute.columns import attribution_columns, missing_scores
from sweeps.attribute.training.grid import Trial
from sweeps.attribute.training.panel import Followed, State
from sweeps.attribute.training.panel_pass import FollowSettings, Panel
from sweeps.columns import Columns, common_columns, list_column, png_columns
from sweeps.images.columns import dataset_columns, identity_columns
from sweeps.plan import Shard
from sweeps.schemas import training_images, training_results
from sweeps.store import columns_table


@dataclass(frozen=True, kw_only=True)
class SegmentAxes:
    """What a shard is of: segments of one training, and a panel followed by some methods."""

    trial: str
    methods: tuple[str, ...]
    panel: tuple[int, ...]  # images by index in the data set
    segments: tuple[int, ...]

    @classmethod
    def of(cls, shard: Shard) -> "SegmentAxes":
        """Return the axes of a shard."""
        return cls(
            trial=shard.value("trial", str),
            methods=shard.values("method", str),
            panel=shard.values("image_index", int),
            segments=shard.indices(),
        )


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
        """True if anything was recorded: a segment may lie between two states that are."""
        return any(segment.states or segment.sums is not None for segment in self.segments)


def image_table(followed: FollowedShard) -> pa.Table:
    """Return the panel, as `schemas.training_images` says; empty where there are no rows to name it."""
    panel = followed.panel
    if not followed.has_rows:
        return training_images().empty_table()
    keys = [_image_key(followed, index) for index in panel.indices]
    columns = {
        **png_columns(zip(keys, torch.from_numpy(panel.pixels), strict=True)),
        "trial": followed.trial.name,
        "image_index": list(panel.indices),
    }
    return columns_table(columns, training_images(), len(keys))


def result_table(followed: FollowedShard, dataset: Dataset, attempt: int, image_file: str | None) -> pa.Table:
    """Return a row for each method, state and image, in that order, as `schemas.training_results` says."""
    num_images, schema = len(followed.panel.indices), training_results(followed.panel.image_shape)
    common = _shard_columns(followed, dataset, attempt)
    per_image = _image_columns(followed, dataset, image_file)
    tables = [
        columns_table(
            common | _repeated(per_image, len(states)) | _state_columns(states) | columns,
            schema,
            len(states) * num_images,
        )
        for segment in followed.segments
        for states, columns in _blocks(segment, followed.settings, num_images)
    ]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _blocks(
    segment: Followed, settings: FollowSettings, num_images: int
) -> Iterator[tuple[list[State], Columns]]:
    """Yield a block of rows for each method of a segment: its states, and the columns that only it fills.

    There are two kinds of methods. One by state has a row for each recorded state and image. One that adds up
    over the training has a row for each image alone, at the segment's last state, which holds the sum over all of
    the segment's states.
    """
    no_sums = pa.nulls(len(segment.states) * num_images, pa.list_(pa.float64()))
    for method, packed in segment.packed.items():
        if not packed:  # with a large --every no state of the segment may have been recorded
            continue
        # Attributions were packed some states at a time; all parts have the same columns.
        attributions = {name: pa.concat_arrays([part[name] for part in packed]) for name in packed[0]}
        columns = {
            "method": method,
            "target": "loss" if method_named(method).explains_loss else settings.target,
            "num_states": 1,
            "gradient_sum": no_sums,
            "gradient_sum_of_squares": no_sums,
        }
        scores = missing_scores(attributions, len(segment.states) * num_images)
        yield segment.states, columns | scores | attributions
    if segment.sums is not None and segment.last is not None:
        for method in settings.summed_methods:
            yield [segment.last], _summed_columns(method, segment.sums)


def _summed_columns(method: str, sums: GradientSums) -> Columns:
    is_variance = method == "gradient_variance"
    gradient, square = (list_column(tensor) for tensor in (sums.gradient, sums.square))
    return {
        "method": method,
        "target": "loss",
        "num_states": sums.num_states,
        "gradient_sum": gradient,
        "gradient_sum_of_squares": square if is_variance else pa.nulls(len(square), square.type),
        **missing_scores((), len(square)),
        **attribution_columns((sums.square if is_variance else sums.gradient).float()),
    }


def _image_key(followed: FollowedShard, index: int) -> str:
    """Return the key of a panel image in images/. Each shard stores its own, so that it can be read by itself."""
    return f"{followed.trial.name}-i{index:06d}-{followed.shard.id.rpartition('-')[2]}"


def _shard_columns(followed: FollowedShard, dataset: Dataset, attempt: int) -> Columns:
    trial = followed.trial
    model, digest = trial.model, followed.weights_digest
    return {
        **common_columns("attribute_training", followed.shard, attempt, model=model, digest=digest),
        **dataset_columns(dataset),
        "trial": trial.name,
        "learning_rate": trial.settings.learning_rate,
        "seed": trial.settings.seed,
    }


def _image_columns(
    followed: FollowedShard, dataset: Dataset, image_file: str | None
) -> dict[str, np.ndarray]:
    """Return columns `[P]` of the panel."""
    indices = followed.panel.indices
    keys = [_image_key(followed, index) for index in indices]
    return identity_columns(dataset, indices, dataset.labels, dataset.class_names) | {
        "image_key": np.array(keys, dtype=object),
        "image_file": np.array([image_file] * len(keys), dtype=object),
    }


def _repeated(per_image: dict[str, np.ndarray], count: int) -> Columns:
    return {name: np.tile(values, count) for name, values in per_image.items()}


def _state_columns(states: Sequence[State]) -> Columns:
    """Return the columns of the panel's rows at each state."""
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
