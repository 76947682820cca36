"""Schemas of adversarial images."""

from collections.abc import Sequence

import pyarrow as pa

from sweeps.schemas.columns import COMMON, images_schema, required

_ATTACK_IDENTITY = [
    required("checkpoint", pa.string()),
    required("method", pa.string()),
    pa.field("target", pa.int32()),
    required("image_index", pa.int32()),
]

_VICTIM = (
    ("victim_prediction", pa.int32()),
    ("victim_margin", pa.float32()),
    ("victim_clean_prediction", pa.int32()),
)


def attack_results(victims: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of one row per checkpoint, method, target, image and ε.

    `target` is the class aimed at, null for an untargeted attack. `epsilon` is null where a minimum was sought
    and no ε up to the largest of its norm succeeds (1 for the max norm); the row then describes that one.
    Where an attack of somebody else finds the minimum, `epsilon` is its change in the attack's own norm, null
    where it does not succeed. `seeks_minimum` tells such rows from those at an ε that was asked for.

    Confidences are softmax probabilities of the prediction, margins the label's logit minus the largest other
    one. `loss` is the cross-entropy at the adversarial image, of the label or the target. Distances are to the
    clean image, in pixel units of [0, 1];
    `_u8` says what is left after rounding to 8 bits. `rechecked`: computed again in float32 after a quick pass.
    `l0` is the number of the C · H · W values that differ at all. `num_forwards` and `num_backwards` are the
    passes of one image through the network that made this adversarial image, evaluation apart; of somebody else's
    attack the mean over the images of its batch.

    `zero_gradient`: the gradient of cross-entropy at the clean image is exactly zero. `gradient_fallback`: an
    image that was not fooled had such a gradient, at the image or at a step towards this ε, and the attack
    followed that of (largest other logit - logit of the label, or of the target) instead. Both are false of an
    attack without a gradient. `zero_gradient` alone: the image was fooled already, or the other gradient is zero
    too and nothing was tried. They are also false of somebody else's attack, whose gradients are not seen. Run
    directories of older releases lack the columns that may be null here.

    `victim_prediction.NAME`, `victim_margin.NAME` and `victim_clean_prediction.NAME` are what another model,
    one that the directory's first command named, answers to the adversarial image and to the clean one; null
    where its logits are no finite numbers. Those of models that later commands named are in victims/: see
    `attack_victims`.
    """
    return pa.schema(
        [
            *COMMON,
            pa.field("perturbation_file", pa.string()),
            pa.field("perturbation_key", pa.string()),
            pa.field("clean_file", pa.string()),
            pa.field("clean_key", pa.string()),
            *_ATTACK_IDENTITY,
            pa.field("epsilon", pa.float64()),
            required("dataset", pa.string()),
            required("split", pa.string()),
            required("key", pa.string()),
            required("label", pa.int32()),
            required("label_name", pa.string()),
            required("clean_prediction", pa.int32()),
            required("clean_confidence", pa.float32()),
            required("clean_margin", pa.float32()),
            required("adversarial_prediction", pa.int32()),
            required("adversarial_confidence", pa.float32()),
            required("adversarial_margin", pa.float32()),
            required("loss", pa.float32()),
            required("linf", pa.float32()),
            required("l2", pa.float32()),
            pa.field("l1", pa.float32()),
            pa.field("l0", pa.int32()),
            required("prediction_u8", pa.int32()),
            required("linf_u8", pa.float32()),
            required("zero_gradient", pa.bool_()),
            pa.field("gradient_fallback", pa.bool_()),
            required("rechecked", pa.bool_()),
            pa.field("num_forwards", pa.float64()),
            pa.field("num_backwards", pa.float64()),
            pa.field("seeks_minimum", pa.bool_()),
            *(pa.field(f"{column}.{name}", kind) for name in victims for column, kind in _VICTIM),
            required("batch_size", pa.int32()),
        ]
    )


def attack_victims() -> pa.Schema:
    """Return the schema of one row per row of results/ and victim that was added after the first command.

    A row belongs to that of results/ which agrees in `checkpoint`, `method`, `target`, `image_index` and, unless
    `seeks_minimum`, in `epsilon`. The adversarial image was computed again by the same code from the same random
    numbers. `victim_digest` is the SHA-256 of the victim's weights.
    """
    return pa.schema(
        [
            *(field for field in COMMON if not field.name.startswith("image_")),
            *_ATTACK_IDENTITY,
            pa.field("epsilon", pa.float64()),
            required("seeks_minimum", pa.bool_()),
            required("dataset", pa.string()),
            required("split", pa.string()),
            required("label", pa.int32()),
            required("victim", pa.string()),
            required("victim_digest", pa.string()),
            *(pa.field(column, kind) for column, kind in _VICTIM),
            required("batch_size", pa.int32()),
        ]
    )


def attack_images() -> pa.Schema:
    """Return the schema of clean images, directions of perturbations, and adversarial images.

    `kind` tells which; only an adversarial image has an `epsilon`.

    A direction in [-1, 1] is stored as the 8-bit grey or colour 127.5 + 127.5 · direction, rounded: a sign map
    has 0, 128 and 255.
    """
    return images_schema(
        [*_ATTACK_IDENTITY, required("kind", pa.string()), pa.field("epsilon", pa.float64())]
    )
