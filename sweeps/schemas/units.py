"""Schemas of images of units."""

import pyarrow as pa

from sweeps.schemas.columns import COMMON, images_schema, required

_IDENTITY = [
    required("recipe", pa.string()),
    required("layer", pa.string()),
    required("unit", pa.string()),
    required("seed", pa.int64()),
    required("member", pa.int32()),
]


def unit_results() -> pa.Schema:
    """Return the schema of one row per recipe, layer, unit, seed and member.

    `ripple` and `sharpness` are null where the image is too small. `seconds` is the image's share of its batch's
    time; the lists hold one entry per step, measured on the view of the image that the step itself saw.
    """
    return pa.schema(
        [
            *COMMON,
            *_IDENTITY,
            required("num_steps", pa.int32()),
            required("batch_size", pa.int32()),
            required("activation", pa.float32()),
            required("top1", pa.int32()),
            required("total_variation", pa.float32()),
            required("clipped_share", pa.float32()),
            pa.field("ripple", pa.float32()),
            pa.field("sharpness", pa.float32()),
            required("activation_by_step", pa.list_(pa.float32())),
            required("loss_by_step", pa.list_(pa.float32())),
            required("seconds", pa.float32()),
        ]
    )


def unit_images() -> pa.Schema:
    """Return the schema of final images; `step` counts updates."""
    return images_schema([*_IDENTITY, required("step", pa.int32())])
