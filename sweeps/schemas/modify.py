"""Schemas of real images that were changed until a classifier sees another class in them."""

import pyarrow as pa

from sweeps.schemas.columns import COMMON, images_schema, required

_MODIFY_IDENTITY = [required("image_index", pa.int32()), required("target", pa.int32())]


def modify_results() -> pa.Schema:
    """Return the schema of one row per image and target class.

    `initial_` columns are of the image as it was, `prediction`, `confidence` and the target's `target_logit` and
    `target_probability` of the modified one rounded to 8 bits, as it is stored; all these in float32. `linf`,
    `l2` and `l1` are norms of the change after all steps, before rounding, in pixel units of [0, 1].
    `first_hit_step` counts the updates until the target was first predicted, before rounding: 0 where it was from
    the beginning, `num_steps` where it took them all, null where it never was. The `hit_` norms are those of the
    change at that moment, null likewise: after all steps a change is about as large for any target, since each
    step moves each pixel. The lists hold one entry a step, measured before its update.
    """
    return pa.schema(
        [
            *COMMON,
            pa.field("clean_file", pa.string()),
            pa.field("clean_key", pa.string()),
            *_MODIFY_IDENTITY,
            required("dataset", pa.string()),
            required("split", pa.string()),
            required("key", pa.string()),
            required("label", pa.int32()),
            required("label_name", pa.string()),
            required("target_name", pa.string()),
            required("num_steps", pa.int32()),
            required("step_size", pa.float32()),
            required("initial_prediction", pa.int32()),
            required("initial_confidence", pa.float32()),
            required("prediction", pa.int32()),
            required("confidence", pa.float32()),
            required("target_logit", pa.float32()),
            required("target_probability", pa.float32()),
            pa.field("first_hit_step", pa.int32()),
            required("linf", pa.float32()),
            required("l2", pa.float32()),
            required("l1", pa.float32()),
            pa.field("hit_linf", pa.float32()),
            pa.field("hit_l2", pa.float32()),
            pa.field("hit_l1", pa.float32()),
            required("logit_by_step", pa.list_(pa.float32())),
            required("argmax_by_step", pa.list_(pa.int32())),
            required("batch_size", pa.int32()),
        ]
    )


def modify_images() -> pa.Schema:
    """Return the schema of clean images, once a shard, and modified ones; `kind` is `clean` or `modified`."""
    return images_schema(
        [
            required("image_index", pa.int32()),
            pa.field("target", pa.int32()),
            required("kind", pa.string()),
        ]
    )
