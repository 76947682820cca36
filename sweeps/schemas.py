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
)

# The columns that tell the rows of a sweep apart: no two rows of a run directory agree in all of them.
IDENTITY = {
    "generate": ("class_index", "seed", "recipe"),
    "tune_recipe": ("class_index", "seed", "recipe"),
}

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
