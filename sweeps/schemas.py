"""Arrow schemas of results/ and images/: the contract between the sweeps and the analysis."""

import json
from collections.abc import Sequence

import pyarrow as pa

SCHEMA_VERSION = 1

# Low cardinality: worth a dictionary page. Everything else is stored plain under zstd.
DICTIONARY_COLUMNS = (
    "sweep",
    "model",
    "model_digest",
    "shard_id",
    "recipe",
    "wnid",
    "class_name",
    "image_file",
    "settings",
    "checkpoint",
    "dataset",
    "split",
    "label_name",
    "method",
    "perturbation_file",
    "clean_file",
    "kind",
)

# The columns that tell the rows of a sweep apart: no two rows of a run directory agree in all of them.
IDENTITY = {
    "attack": ("checkpoint", "method", "target", "image_index", "epsilon"),
    "generate": ("class_index", "seed", "recipe"),
    "tune_recipe": ("class_index", "seed", "recipe"),
}

# A row that names an image in `x_key` names the file that holds it in `x_file`; both are null otherwise.
IMAGE_COLUMNS = ("image", "perturbation", "clean")

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_COMMON = [
    _required("sweep", pa.string()),
    _required("model", pa.string()),
    _required("model_digest", pa.string()),
    _required("shard_id", pa.string()),
    _required("attempt", pa.int32()),
    _required("schema_version", pa.int32()),
    pa.field("image_file", pa.string()),
    pa.field("image_key", pa.string()),
]

_GENERATE_IDENTITY = [
    _required("class_index", pa.int32()),
    _required("seed", pa.int64()),
    _required("recipe", pa.string()),
]


def generate_results(judges: Sequence[str]) -> pa.Schema:
    """One row per class, seed and recipe; the judges' verdicts are structs with a field per judge.

    `seconds` is the image's share of its batch's time; the lists hold one entry per step, measured on the
    view of the image that the step itself saw.
    """
    return pa.schema(
        [
            *_COMMON,
            *_GENERATE_IDENTITY,
            _required("wnid", pa.string()),
            _required("class_name", pa.string()),
            _required("num_steps", pa.int32()),
            _required("batch_size", pa.int32()),
            _required("logit", pa.float32()),
            _required("probability", pa.float32()),
            _required("top1", pa.int32()),
            _required("top5_hit", pa.bool_()),
            *_judge_columns(judges),
            _required("total_variation", pa.float32()),
            _required("clipped_share", pa.float32()),
            _required("logit_by_step", pa.list_(pa.float32())),
            _required("loss_by_step", pa.list_(pa.float32())),
            _required("argmax_by_step", pa.list_(pa.int32())),
            _required("seconds", pa.float32()),
        ]
    )


def tune_results(judges: Sequence[str]) -> pa.Schema:
    """Generation's columns; `settings` are those of the row's recipe, a `PyramidSettings` as JSON.

    `chunk` counts from 0 in the order in which every trial takes the classes. `attempt` is always 1: Ray Tune
    does not tell a trial that it was restarted.
    """
    added = [_required("chunk", pa.int32()), _required("settings", pa.string())]
    return pa.schema([*generate_results(judges), *added])


def _judge_columns(judges: Sequence[str]) -> list[pa.Field]:
    """Parquet has no struct without fields: without judges there are no columns."""
    if not judges:
        return []
    return [
        _required("judge_top1", pa.struct([_required(judge, pa.int32()) for judge in judges])),
        _required("judge_top5_hit", pa.struct([_required(judge, pa.bool_()) for judge in judges])),
    ]


def generate_images(num_classes: int) -> pa.Schema:
    """The final image of each cell and, for chosen classes, its frames with all logits; `step` counts updates."""
    return images_schema(
        [
            *_GENERATE_IDENTITY,
            _required("step", pa.int32()),
            _required("logits", pa.list_(pa.float32(), num_classes)),
        ]
    )


_ATTACK_IDENTITY = [
    _required("checkpoint", pa.string()),
    _required("method", pa.string()),
    pa.field("target", pa.int32()),
    _required("image_index", pa.int32()),
]


def attack_results() -> pa.Schema:
    """One row per checkpoint, method, target, image and ε.

    `target` is the class aimed at, null for an untargeted attack. `epsilon` is null where a minimum was sought
    and no ε up to 1 succeeds; the row then describes ε = 1. Confidences are softmax probabilities of the
    prediction, margins the label's logit minus the largest other one. `loss` is the cross-entropy at the
    adversarial image, of the label or the target. Distances are to the clean image, in pixel units of [0, 1];
    `_u8` says what is left after rounding to 8 bits. `rechecked`: computed again in float32 under
    `--precision mixed`.
    """
    return pa.schema(
        [
            *_COMMON,
            pa.field("perturbation_file", pa.string()),
            pa.field("perturbation_key", pa.string()),
            pa.field("clean_file", pa.string()),
            pa.field("clean_key", pa.string()),
            *_ATTACK_IDENTITY,
            pa.field("epsilon", pa.float64()),
            _required("dataset", pa.string()),
            _required("split", pa.string()),
            _required("key", pa.string()),
            _required("label", pa.int32()),
            _required("label_name", pa.string()),
            _required("clean_prediction", pa.int32()),
            _required("clean_confidence", pa.float32()),
            _required("clean_margin", pa.float32()),
            _required("adversarial_prediction", pa.int32()),
            _required("adversarial_confidence", pa.float32()),
            _required("adversarial_margin", pa.float32()),
            _required("loss", pa.float32()),
            _required("linf", pa.float32()),
            _required("l2", pa.float32()),
            _required("prediction_u8", pa.int32()),
            _required("linf_u8", pa.float32()),
            _required("zero_gradient", pa.bool_()),
            _required("rechecked", pa.bool_()),
            _required("batch_size", pa.int32()),
        ]
    )


def attack_images() -> pa.Schema:
    """The clean image, the perturbation's direction, and adversarial images; `kind` tells which, `epsilon` is
    null but for the last.

    A direction in [-1, 1] is stored as the 8-bit grey or colour 127.5 + 127.5 · direction, rounded: a sign map
    has 0, 128 and 255.
    """
    return images_schema(
        [*_ATTACK_IDENTITY, _required("kind", pa.string()), pa.field("epsilon", pa.float64())]
    )


def images_schema(identity: Sequence[pa.Field]) -> pa.Schema:
    """A schema of images/ that Hugging Face `datasets` opens as images without further code."""
    columns = [_required("key", pa.string()), _required("image", IMAGE_TYPE), *identity]
    features = {"image": {"_type": "Image"}}
    features |= {field.name: _hugging_face_feature(field.type) for field in columns if field.name != "image"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(columns, metadata=metadata)


def _hugging_face_feature(kind: pa.DataType) -> dict[str, object]:
    if pa.types.is_fixed_size_list(kind):
        return {
            "feature": _hugging_face_feature(kind.value_type),
            "length": kind.list_size,
            "_type": "List",
        }
    names = {"float": "float32", "double": "float64", "halffloat": "float16"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}
