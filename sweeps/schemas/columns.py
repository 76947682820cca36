"""What all schemas share: columns that every row has, how an image is stored, what tells rows apart."""

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
    "trial",
    "target_name",
    "victim",
    "victim_digest",
    "score",
    "layer",
    "unit",
)

# Columns that a release has added to rows: run directories that are older lack them, and the rows of one that was
# continued lack some of their values.
LATER_COLUMNS = {
    "gradient_fallback": pa.bool_(),
    "l1": pa.float32(),
    "l0": pa.int32(),
    "num_forwards": pa.float64(),
    "num_backwards": pa.float64(),
    "seeks_minimum": pa.bool_(),
    "explained_class": pa.int32(),
    "constant_map": pa.bool_(),
    "num_path_steps": pa.int32(),
    "infidelity": pa.float32(),
    "infidelity_scaled": pa.float32(),
    "infidelity_of_zero": pa.float32(),
    "max_sensitivity": pa.float32(),
    "road": pa.float32(),
    "road_morf": pa.float32(),
    "road_lerf": pa.float32(),
    "pointing_hit": pa.float32(),
}

# A row that names an image in `x_key` names the file that holds it in `x_file`; both are null otherwise.
IMAGE_COLUMNS = ("image", "perturbation", "clean")

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


COMMON = [
    required("sweep", pa.string()),
    required("model", pa.string()),
    required("model_digest", pa.string()),
    required("shard_id", pa.string()),
    required("attempt", pa.int32()),
    required("schema_version", pa.int32()),
    pa.field("image_file", pa.string()),
    pa.field("image_key", pa.string()),
]


def images_schema(identity: Sequence[pa.Field]) -> pa.Schema:
    """Return a schema of images/ that Hugging Face `datasets` opens as images without further code."""
    # Nullable, though never null: `datasets` decodes only columns that are as in a schema of its own.
    columns = [required("key", pa.string()), pa.field("image", IMAGE_TYPE), *identity]
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
