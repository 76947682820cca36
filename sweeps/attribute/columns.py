"""Attributions as the two columns that hold them: float16 values in [-1, 1], and a float32 scale."""

import math

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

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
