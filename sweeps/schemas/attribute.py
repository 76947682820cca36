"""Schemas of attributions: of whole test sets, and of a panel of images along a training."""

import math

import pyarrow as pa

from sweeps.schemas.columns import COMMON, images_schema, required

Shape = tuple[int, int, int]  # [C, H, W]


def attribution_field(shape: Shape) -> pa.Field:
    """Return the field of an attribution `[C, H, W]`, flattened, in [-1, 1]; times `attribution_scale` the value.

    Gradients of confident images underflow float16, hence the scale.
    """
    kind = pa.list_(pa.float16(), math.prod(shape))
    return pa.field("attribution", kind, nullable=False, metadata={"shape": ",".join(map(str, shape))})


_IMAGE = [
    required("dataset", pa.string()),
    required("split", pa.string()),
    required("image_index", pa.int32()),
    required("key", pa.string()),
    required("label", pa.int32()),
    required("label_name", pa.string()),
]


def attribute_results(shape: Shape) -> pa.Schema:
    """Return the schema of one row per image, method and target.

    `target` is what was explained: `predicted` and `label` are logits, `loss` is the label's cross-entropy.
    `confidence` is the prediction's softmax probability. `completeness_gap`, of integrated gradients alone, is
    the sum of the attribution minus the target's change from the baseline to the image. `deletion_score` and
    `insertion_score` are areas in [0, 1] under the prediction's probability, as the pixels of largest
    attribution (of the loss: smallest) are blanked one after another, or uncovered on a blurred image.
    """
    return pa.schema(
        [
            *COMMON,
            *_IMAGE,
            required("prediction", pa.int32()),
            required("confidence", pa.float32()),
            required("method", pa.string()),
            required("target", pa.string()),
            attribution_field(shape),
            required("attribution_scale", pa.float32()),
            pa.field("completeness_gap", pa.float32()),
            pa.field("deletion_score", pa.float32()),
            pa.field("insertion_score", pa.float32()),
            required("batch_size", pa.int32()),
        ]
    )


def attribute_images() -> pa.Schema:
    """Return the schema of the attributed images."""
    return images_schema([required("image_index", pa.int32())])


def training_results(shape: Shape) -> pa.Schema:
    """Return the schema of one row per trial, step, image and method; step 0 is the untrained network.

    `training_loss` is that of the update that led here, null at step 0; `epoch` counts from 0 and is that of the
    update. A method that adds up over training (`training_integrated_gradient`, `gradient_variance`) has one row
    a segment, at the segment's last step: the sum over the `num_states` states of the segment of the loss
    gradient, or of its square. `gradient_sum` and `gradient_sum_of_squares` hold these in float64, so that sums
    over segments are the same however the training was cut; they are null for other methods.
    """
    return pa.schema(
        [
            *COMMON,
            required("trial", pa.string()),
            required("learning_rate", pa.float64()),
            required("seed", pa.int64()),
            required("step", pa.int32()),
            required("epoch", pa.int32()),
            pa.field("training_loss", pa.float32()),
            *_IMAGE,
            required("prediction", pa.int32()),
            required("confidence", pa.float32()),
            required("method", pa.string()),
            required("target", pa.string()),
            attribution_field(shape),
            required("attribution_scale", pa.float32()),
            required("num_states", pa.int32()),
            pa.field("gradient_sum", pa.list_(pa.float64())),
            pa.field("gradient_sum_of_squares", pa.list_(pa.float64())),
        ]
    )


def training_images() -> pa.Schema:
    """Return the schema of the panel: the images whose attribution is followed."""
    return images_schema([required("trial", pa.string()), required("image_index", pa.int32())])
