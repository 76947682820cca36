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


# Numbers that say how far a map can be trusted, each null where it was not asked for or is not defined.
SCORE_COLUMNS = (
    "deletion_score",
    "insertion_score",
    "infidelity",
    "infidelity_scaled",
    "infidelity_of_zero",
    "max_sensitivity",
    "road",
    "road_morf",
    "road_lerf",
    "pointing_hit",
)
_SCORES = [pa.field(name, pa.float32()) for name in SCORE_COLUMNS]


def attribute_results(shape: Shape) -> pa.Schema:
    """Return the schema of one row per checkpoint, image, method and target.

    `checkpoint` names the weights: `trained`, `untrained`, `randomized:3` for the last three layers re-drawn, or a
    file. `target` is what was explained: `predicted` and `label` are logits, `loss` is the label's cross-entropy.
    `explained_class` is the class whose logit or loss it is: for `predicted` the prediction, but of untrained and
    re-drawn weights that of the trained ones. `confidence` is the prediction's softmax probability.
    `completeness_gap`, of integrated gradients alone, is the sum of the attribution minus the target's change from
    the baseline to the image, and `num_path_steps` the number of points on its path. `deletion_score` and
    `insertion_score` are areas in [0, 1] under the probability of the prediction (for untrained and re-drawn
    weights: of the trained ones' prediction), as the pixels of largest attribution (of the loss: smallest) are
    blanked one after another, or uncovered on a blurred image. A `constant_map` ranks no pixel above another: its
    scores by rank are null. `attrib_core.attribution.scores` says what the other scores are.
    """
    return pa.schema(
        [
            *COMMON,
            *_IMAGE,
            required("prediction", pa.int32()),
            required("confidence", pa.float32()),
            pa.field("checkpoint", pa.string()),
            required("method", pa.string()),
            required("target", pa.string()),
            pa.field("explained_class", pa.int32()),
            attribution_field(shape),
            required("attribution_scale", pa.float32()),
            pa.field("constant_map", pa.bool_()),
            pa.field("completeness_gap", pa.float32()),
            pa.field("num_path_steps", pa.int32()),
            *_SCORES,
            required("batch_size", pa.int32()),
        ]
    )


def attribute_scores() -> pa.Schema:
    """Return the schema of one row per row of results/ and score that was added after the first command.

    A row belongs to that of results/ which agrees in `checkpoint`, `target`, `method` and `image_index`. `score`
    is the reference that was given; it fills its own columns, the others are null.
    """
    return pa.schema(
        [
            *(field for field in COMMON if not field.name.startswith("image_")),
            required("dataset", pa.string()),
            required("split", pa.string()),
            required("image_index", pa.int32()),
            required("label", pa.int32()),
            required("checkpoint", pa.string()),
            required("method", pa.string()),
            required("target", pa.string()),
            required("score", pa.string()),
            *_SCORES,
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
    over segments are the same however the training was cut; they are null for other methods. The scores are those
    of the network at that state; a sum over training has none here: see `attribute_all.py --training`.
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
            *_SCORES,
            required("num_states", pa.int32()),
            pa.field("gradient_sum", pa.list_(pa.float64())),
            pa.field("gradient_sum_of_squares", pa.list_(pa.float64())),
        ]
    )


def training_images() -> pa.Schema:
    """Return the schema of the panel: the images whose attribution is followed."""
    return images_schema([required("trial", pa.string()), required("image_index", pa.int32())])
