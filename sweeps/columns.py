"""Columns that every sweep writes: which shard a row is of, and which stored images it names."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.generation import to_8_bits
from sweeps.plan import Shard
from sweeps.png import encode_pngs
from sweeps.schemas import IMAGE_TYPE, SCHEMA_VERSION

# By name: an array or list with a value for each row, or one value for all rows.
Columns = dict[str, Any]


def common_columns(sweep: str, shard: Shard, attempt: int, *, model: str, digest: str) -> Columns:
    """Return what all rows of a shard have in common, whatever the sweep; `digest` is of the model's weights."""
    return {
        "sweep": sweep,
        "model": model,
        "model_digest": digest,
        "shard_id": shard.id,
        "attempt": attempt,
        "schema_version": SCHEMA_VERSION,
    }


def name_columns(column: str, keys: Sequence[str | None], image_file: str | None) -> Columns:
    """Return for each row the key of an image, null where none is stored, and the file that holds it."""
    files = [None if key is None else image_file for key in keys]
    return {
        f"{column}_key": pa.array(keys, type=pa.string()),
        f"{column}_file": pa.array(files, type=pa.string()),
    }


def png_columns(images: Iterable[tuple[str, Tensor]]) -> Columns:
    """Return the columns of images/ for keys and images `[C, H, W]`, float in [0, 1] and beyond or of 8 bits."""
    keys: list[str] = []

    def pixels() -> Iterator[NDArray[np.uint8]]:
        for key, image in images:
            keys.append(key)
            eight_bits = to_8_bits(image) if image.is_floating_point() else image
            yield eight_bits.permute(1, 2, 0).numpy()

    cells = [
        {"bytes": png, "path": f"{key}.png"} for png, key in zip(encode_pngs(pixels()), keys, strict=True)
    ]
    return {"key": pa.array(keys, type=pa.string()), "image": pa.array(cells, type=IMAGE_TYPE)}


def list_column(values: Tensor) -> pa.Array:
    """Return values `[N, ...]` as N lists."""
    rows = values.flatten(1).cpu().numpy()
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.ravel()))
