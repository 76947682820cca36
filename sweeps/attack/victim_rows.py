"""The rows of victims/: what victims that were added later answer to the images of a shard."""

import numpy as np
import pyarrow as pa

from sweeps.attack.rows import AttackedShard, axis_columns, epsilon_column
from sweeps.attack.transfer import victim_facts
from sweeps.attack.victims import AXIS, AttackInputs
from sweeps.images.columns import shard_columns
from sweeps.schemas import attack_victims
from sweeps.store import columns_table


def victim_table(
    attacked: AttackedShard, inputs: AttackInputs, attempt: int, image_file: str | None
) -> pa.Table:
    """Return one row an image, ε and victim, as `schemas.attack_victims` says."""
    assert image_file is None  # the images are those that rows of results/ name
    if not attacked.batches:  # no image could be used
        return attack_victims().empty_table()
    tables = [_rows_of(name, attacked, inputs, attempt) for name in attacked.victims]
    return pa.concat_tables(tables).combine_chunks()


def _rows_of(name: str, attacked: AttackedShard, inputs: AttackInputs, attempt: int) -> pa.Table:
    axes, num_epsilons = attacked.axes, attacked.num_epsilons
    common = shard_columns("attack", attacked.shard, attempt, inputs, inputs.checkpoints[axes.checkpoint])
    columns = {
        **common,
        **axis_columns(axes),
        "image_index": np.repeat(np.array(axes.indices), num_epsilons),
        "label": np.repeat(inputs.labels[list(axes.indices)], num_epsilons),
        "epsilon": epsilon_column(attacked),
        "seeks_minimum": axes.seeks_minimum,
        AXIS: name,
        "victim_digest": inputs.victims[name].digest,
        **victim_facts([batch.transferred[name] for batch in attacked.batches], num_epsilons),
        "batch_size": attacked.batch_size,
    }
    return columns_table(columns, attack_victims(), len(axes.indices) * num_epsilons)
