"""Attributions as the two columns that hold them: float16 values in [-1, 1], and a float32 scale."""

import math
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from sweeps.schemas import SCORE_COLUMNS

MOST_BYTES = 2 * 10**9  # of the attributions of a shard, which an actor holds in memory
BYTES_A_VALUE = 2


def attribution_columns(values: Tensor) -> dict[str, pa.Array]:
    """Return `attribution` and `attribution_scale` of values `[N, C, H, W]`: their product is the value.

    The scale is an image's largest |value|, 0 where all are 0. Raises ValueError for NaN and infinite values.
    """
    flat = values.detach().flatten(1).float()
    scale = flat.abs().amax(1) if len(flat) else flat.new_empty(0)
    if not bool(scale.isfinite().all()):
        raise ValueError(
            f"attribution: row {int((~scale.isfinite()).nonzero()[0])} holds NaN or infinite values"
        )
    halves = (flat / torch.where(scale > 0, scale, 1.0)[:, None]).half().cpu().numpy()
    size = math.prod(values.shape[1:])
    return {
        "attribution": pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(halves)), size),
        "attribution_scale": pa.array(scale.cpu().numpy()),
    }


def nullable(numbers: Tensor) -> pa.Array:
    """Return scores of any shape as a column, null where one is NaN."""
    flat = numbers.flatten().numpy()
    return pa.array(flat, mask=np.isnan(flat))


def missing_scores(found: Collection[str], num_rows: int) -> dict[str, pa.Array]:
    """Return nulls for the scores that are not among the columns found."""
    return {name: pa.nulls(num_rows, pa.float32()) for name in SCORE_COLUMNS if name not in found}
