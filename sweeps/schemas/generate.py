"""Schemas of generated images and of the search for recipes."""

from collections.abc import Sequence

import pyarrow as pa

from sweeps.schemas.columns import COMMON, images_schema, required

_GENERATE_IDENTITY = [
    required("class_index", pa.int32()),
    required("seed", pa.int64()),
    required("recipe", pa.string()),
]


def generate_results(judges: Sequence[str]) -> pa.Schema:
    """Return the schema of one row per class, seed and recipe; verdicts are structs with a field per judge.

    `ripple` and `sharpness` compare it with photographs (`attrib_core.generation.spectrum`), null if it is
    too small. `seconds` is the image's share of its batch's time; the lists hold one entry per step,
    measured on the view of the image that the step itself saw.
    """
    return pa.schema(
        [
            *COMMON,
            *_GENERATE_IDENTITY,
            required("wnid", pa.string()),
            required("class_name", pa.string()),
            required("num_steps", pa.int32()),
            required("batch_size", pa.int32()),
            required("logit", pa.float32()),
            required("probability", pa.float32()),
            required("top1", pa.int32()),
            required("top5_hit", pa.bool_()),
            *_judge_columns(judges),
            required("total_variation", pa.float32()),
            required("clipped_share", pa.float32()),
            pa.field("ripple", pa.float32()),
            pa.field("sharpness", pa.float32()),
            required("logit_by_step", pa.list_(pa.float32())),
            required("loss_by_step", pa.list_(pa.float32())),
            required("argmax_by_step", pa.list_(pa.int32())),
            required("seconds", pa.float32()),
        ]
    )


def tune_results(judges: Sequence[str]) -> pa.Schema:
    """Return the schema of generation and two columns more.

    `settings` are those of the row's recipe, a `PyramidSettings` as JSON.

    `chunk` counts from 0 in the order in which every trial takes the classes. `attempt` is always 1: Ray Tune
    does not tell a trial that it was restarted.
    """
    added = [required("chunk", pa.int32()), required("settings", pa.string())]
    return pa.schema([*generate_results(judges), *added])


def _judge_columns(judges: Sequence[str]) -> list[pa.Field]:
    """Return no columns without judges: Parquet has no struct without fields."""
    if not judges:
        return []
    return [
        required("judge_top1", pa.struct([required(judge, pa.int32()) for judge in judges])),
        required("judge_top5_hit", pa.struct([required(judge, pa.bool_()) for judge in judges])),
    ]


def generate_images(num_classes: int) -> pa.Schema:
    """Return the schema of final images and, for chosen classes, frames; `step` counts updates."""
    return images_schema(
        [
            *_GENERATE_IDENTITY,
            required("step", pa.int32()),
            required("logits", pa.list_(pa.float32(), num_classes)),
        ]
    )
