"""The rows of scores/: scores of a shard's maps that were asked for after the first command."""

import numpy as np
import pyarrow as pa

from attrib_core.attribution import score_named
from sweeps.attribute.rows import AttributedShard, joined_columns
from sweeps.images.columns import shard_columns
from sweeps.images.inputs import ImageInputs
from sweeps.schemas import SCORE_COLUMNS, attribute_scores
from sweeps.store import columns_table


def score_table(
    attributed: AttributedShard, inputs: ImageInputs, attempt: int, image_file: str | None
) -> pa.Table:
    """Return one row an image, method and score, as `schemas.attribute_scores` says."""
    assert image_file is None  # the images are those that rows of results/ name
    if not attributed.batches:  # no image could be used
        return attribute_scores().empty_table()
    tables = [_rows_of(score, attributed, inputs, attempt) for score in attributed.axes.scores]
    return pa.concat_tables(tables).combine_chunks()


def _rows_of(score: str, attributed: AttributedShard, inputs: ImageInputs, attempt: int) -> pa.Table:
    axes, schema = attributed.axes, attribute_scores()
    num_rows = len(axes.indices) * len(axes.methods)
    filled, found = score_named(score).columns, joined_columns(attributed)
    columns = {
        **shard_columns("attribute", attributed.shard, attempt, inputs, inputs.weights(axes.checkpoint)),
        "checkpoint": axes.checkpoint,
        "target": axes.target,
        "image_index": np.repeat(np.array(axes.indices), len(axes.methods)),
        "label": np.repeat(inputs.labels[list(axes.indices)], len(axes.methods)),
        "method": np.array(axes.methods * len(axes.indices), dtype=object),
        "score": score,
        **{
            name: found[name] if name in filled else pa.nulls(num_rows, schema.field(name).type)
            for name in SCORE_COLUMNS
        },
        "batch_size": attributed.batch_size,
    }
    return columns_table(columns, schema, num_rows)
