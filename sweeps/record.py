"""sweep.json: what a run directory was asked for, and whether it may be asked for more.

sweep, schema_version     which sweep, which schemas
settings, fingerprint     what shapes the rows besides the axes; a different setting is refused
axis_kinds                which axes a shard has one value of, some points of, or all values of
definitions               digests of what the axes name (recipes); a name that changed its meaning is refused
blocks                    the growth history: axes (integers as ranges) and shard size of each addition
invocations               versions, commit, command of each start (the last hundred)
"""

from typing import Any, Protocol

from sweeps.plan import Axes, Block, Plan, Value, fingerprint
from sweeps.ranges import format_integers, parse_integers
from sweeps.schemas import SCHEMA_VERSION
from sweeps.schemas.axis_kinds import AxisKinds

Record = dict[str, Any]


class Asked(Protocol):
    """What a sweep asks of its run directory."""

    @property
    def name(self) -> str: ...
    @property
    def kinds(self) -> AxisKinds: ...
    @property
    def boxes(self) -> tuple[Axes, ...]: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def definitions(self) -> dict[str, str]: ...


def merge(existing: Record | None, asked: Asked, shard_size: int) -> Record:
    """The record with the new cells that are asked for; ValueError when the directory holds something else."""
    if existing is None:
        existing = {
            "sweep": asked.name,
            "schema_version": SCHEMA_VERSION,
            "settings": asked.settings,
            "fingerprint": fingerprint({"sweep": asked.name} | asked.settings),
            "definitions": {},
            "blocks": [],
            "invocations": [],
        }
    refuse_differences(existing, asked)
    plan = plan_of(existing, asked.kinds)
    for box in asked.boxes:
        plan = plan.grow(box, shard_size)
    return existing | {
        "axis_kinds": asked.kinds.as_record(),  # directories of earlier versions lack it
        "definitions": existing.get("definitions", {}) | asked.definitions,
        "blocks": [_write_block(block) for block in plan.blocks],
    }


def refuse_differences(existing: Record, asked: Asked) -> None:
    """ValueError that names the first field in which the directory's sweep differs from what is asked."""
    advice = "choose another --output, or the directory's own value"
    if existing.get("sweep") != asked.name:
        raise ValueError(
            f"--output: the directory holds a sweep of kind {existing.get('sweep')!r}, not {asked.name!r}; "
            "choose another --output"
        )
    if existing.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version: the directory has {existing.get('schema_version')!r}, this version writes "
            f"{SCHEMA_VERSION}; choose another --output"
        )
    if "axis_kinds" in existing and existing["axis_kinds"] != asked.kinds.as_record():
        raise ValueError(
            f"axis_kinds: the directory was made with {existing['axis_kinds']}, this version has "
            f"{asked.kinds.as_record()}; choose another --output"
        )
    recorded = existing["settings"]
    for name in {**recorded, **asked.settings}:
        old, new = recorded.get(name), asked.settings.get(name)
        if old != new:
            raise ValueError(
                f"{name}: the directory was made with {old!r}, this command asks for {new!r}; {advice}"
            )
    for name, digest in asked.definitions.items():
        old = existing.get("definitions", {}).get(name, digest)
        if old != digest:
            raise ValueError(
                f"{name}: its definition has changed since the directory was made ({old}, now {digest}); "
                "choose another --output, or the version that made the directory"
            )


def plan_of(record: Record, kinds: AxisKinds) -> Plan:
    """The plan that a record describes."""
    blocks = tuple(Block(_read_axes(block["axes"]), block["shard_size"]) for block in record["blocks"])
    return Plan(fingerprint=record["fingerprint"], kinds=kinds, blocks=blocks)


def _write_block(block: Block) -> Record:
    axes = {axis: _write_values(values) for axis, values in block.axes.items()}
    return {"axes": axes, "shard_size": block.shard_size}


def _write_values(values: tuple[Value, ...]) -> str | list[Value]:
    integers = [value for value in values if isinstance(value, int)]
    return format_integers(integers) if len(integers) == len(values) else list(values)


def _read_axes(axes: dict[str, Any]) -> Axes:
    return {
        axis: parse_integers(axis, values) if isinstance(values, str) else tuple(values)
        for axis, values in axes.items()
    }
