"""Schemas of the images of a data set that activate units or classes of a classifier most."""

import pyarrow as pa

from sweeps.schemas.columns import COMMON, images_schema, required


def activations_results() -> pa.Schema:
    """Return the schema of one row per unit or class and image, for the strongest images of each shard.

    A run is of units, whose rows have `layer` and `unit`, or of classes, whose rows have `class_index` and
    `class_name`; the others are null. `activation` is the unit's mean over positions, the middle neuron's for
    `:center`, and for a class the logit. `row` and `column` say where the unit is activated most, in pixels of
    the classifier's input; null for layers without positions, and for classes. `rank_in_shard` counts from 1: the
    strongest images of a whole run are those with the largest `activation` of all shards.
    """
    return pa.schema(
        [
            *COMMON,
            pa.field("layer", pa.string()),
            pa.field("unit", pa.string()),
            pa.field("class_index", pa.int32()),
            pa.field("class_name", pa.string()),
            required("dataset", pa.string()),
            required("split", pa.string()),
            required("image_index", pa.int32()),
            required("key", pa.string()),
            required("label", pa.int32()),
            required("label_name", pa.string()),
            required("activation", pa.float32()),
            pa.field("row", pa.int32()),
            pa.field("column", pa.int32()),
            required("rank_in_shard", pa.int32()),
            required("batch_size", pa.int32()),
        ]
    )


def activations_images() -> pa.Schema:
    """Return the schema of images as the classifier saw them, each once a shard."""
    return images_schema([required("image_index", pa.int32())])
