"""Columns that every sweep over images writes: what a row is of, and which stored images it names."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.classifiers import Checkpoint
from attrib_core.generation import to_8_bits
from sweeps.images.inputs import ImageInputs
from sweeps.images.png import encode_png
from sweeps.plan import Shard
from sweeps.schemas import IMAGE_TYPE, SCHEMA_VERSION

Columns = dict[str, Any]


def shard_columns(
    sweep: str, shard: Shard, attempt: int, inputs: ImageInputs, checkpoint: Checkpoint
) -> Columns:
    """What all rows of a shard have in common."""
    return {
        "sweep": sweep,
        "model": checkpoint.name,
        "model_digest": checkpoint.digest,
        "shard_id": shard.id,
        "attempt": attempt,
        "schema_version": SCHEMA_VERSION,
        "dataset": inputs.dataset.name,
        "split": inputs.dataset.split,
    }


def identity_columns(inputs: ImageInputs, indices: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Index, key and label `[B]` of images of the data set."""
    labels = inputs.labels[list(indices)]
    return {
        "image_index": np.array(indices),
        "key": np.array([inputs.dataset.keys[index] for index in indices], dtype=object),
        "label": labels,
        "label_name": np.array(inputs.class_names, dtype=object)[labels],
    }


def name_columns(column: str, keys: Sequence[str | None], image_file: str | None) -> Columns:
    """For each row the key of an image, null where none is stored, and beside each key the file that holds it."""
    files = [None if key is None else image_file for key in keys]
    return {
        f"{column}_key": pa.array(keys, type=pa.string()),
        f"{column}_file": pa.array(files, type=pa.string()),
    }


def png_columns(images: Iterable[tuple[str, Tensor]]) -> Columns:
    """Keys and images `[C, H, W]`, float in [0, 1] and beyond or of 8 bits, as the columns of images/."""
    keys, cells = [], []
    for key, image in images:
        keys.append(key)
        pixels = to_8_bits(image) if image.is_floating_point() else image
        cells.append({"bytes": encode_png(pixels.permute(1, 2, 0).numpy()), "path": f"{key}.png"})
    return {"key": keys, "image": pa.array(cells, type=IMAGE_TYPE)}
