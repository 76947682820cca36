"""A table beside results/: rows that a later command adds to the rows that are there, in a folder of its own.

All files of results/ have the same columns, so that `pd.read_parquet(RUN/"results")` works at every moment.
What is found out later about the same cells goes into a side table, such as victims/: it has a plan of its
own, with more axes, which grows as the plan of results/ does. Its shards are committed by the same rule.
sweep.json holds its kinds of axes and blocks under `beside`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.plan import Axes, Plan
from sweeps.record import read_plan, write_blocks
from sweeps.schemas.axis_kinds import AxisKinds, kinds_of_record

BESIDE = "beside"


@dataclass(frozen=True, kw_only=True)
class SideTable:
    """What a command asks of a side table: the products of axes whose cells it wants."""

    folder: str
    kinds: AxisKinds
    requested: tuple[Axes, ...]


def with_side_table(record: dict[str, Any], table: SideTable | None, shard_size: int) -> dict[str, Any]:
    """Return the content of sweep.json with the requested cells of a side table added."""
    if table is None or not table.requested:
        return record
    plan = side_plan(record, table)
    for product in table.requested:
        plan = plan.grow(product, shard_size)
    entry = {"axis_kinds": table.kinds.as_record(), "blocks": write_blocks(plan)}
    return record | {BESIDE: record.get(BESIDE, {}) | {table.folder: entry}}


def side_plan(record: Mapping[str, Any], table: SideTable) -> Plan:
    """Return the plan of a side table, without blocks if there is none yet."""
    blocks = record.get(BESIDE, {}).get(table.folder, {}).get("blocks", [])
    return read_plan(record["fingerprint"], table.kinds, blocks)


def side_plans(record: Mapping[str, Any]) -> Iterator[tuple[str, Plan]]:
    """Yield folder and plan of every side table of a run directory."""
    for folder, entry in record.get(BESIDE, {}).items():
        kinds = kinds_of_record(entry["axis_kinds"])
        yield folder, read_plan(record["fingerprint"], kinds, entry["blocks"])
