"""sweep.json: what a run directory was asked for, and whether it may be asked for more.

sweep, schema_version     which sweep, which schemas
settings, fingerprint     what shapes the rows besides the axes; a different setting is refused
axis_kinds                which axes a shard has one value of, some points of, or all values of
definitions               digests of what the axes name (recipes); a name that changed its meaning is refused
batch_size                of the last command that gave one; others use it, since last bits depend on it
blocks                    the growth history: axes (integers as ranges) and shard size of each addition
beside                    kinds of axes and blocks of each table beside results/: see `side_table.py`
invocations               versions, commit, command of each start (the last hundred)
rows_without              later axes that the first rows are too old to have as columns
notices_id                what trackers (`--notify`) know the directory by, since the first command that had any
devices                   kinds of devices that have computed rows: name, driver, libraries, precision
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sweeps.plan import Axes, Block, Plan, Value, fingerprint
from sweeps.ranges import format_integers, parse_integers
from sweeps.schemas import SCHEMA_VERSION
from sweeps.schemas.axis_kinds import AxisKinds

Record = dict[str, Any]
IMAGES_OF = "images of "  # begins the name of a definition of how photographs are resized for a model


class SweepRequest(Protocol):
    """What a command wants to find in its run directory."""

    @property
    def name(self) -> str: ...
    @property
    def kinds(self) -> AxisKinds: ...
    @property
    def requested(self) -> tuple[Axes, ...]: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def definitions(self) -> dict[str, str]: ...
    @property
    def batch_size(self) -> int | None: ...


def merge(existing: Record | None, request: SweepRequest, shard_size: int) -> Record:
    """Return the record with the requested cells added; ValueError when the directory holds something else."""
    if existing is None:
        existing = {
            "sweep": request.name,
            "schema_version": SCHEMA_VERSION,
            "settings": request.settings,
            "fingerprint": fingerprint({"sweep": request.name} | request.settings),
            "definitions": {},
            "blocks": [],
            "invocations": [],
        }
    else:
        existing = existing | rows_without(existing, request.kinds)
    refuse_differences(existing, request)
    plan = plan_of(existing, request.kinds)
    for product in request.requested:
        plan = plan.grow(product, shard_size)
    batch_size = {} if request.batch_size is None else {"batch_size": request.batch_size}
    return (
        existing
        | batch_size
        | {
            "axis_kinds": request.kinds.as_record(),  # directories of earlier versions lack it
            "definitions": existing.get("definitions", {}) | request.definitions,
            "blocks": write_blocks(plan),
        }
    )


def rows_without(existing: Record, kinds: AxisKinds) -> Record:
    """Return what a record says of axes that its first rows lack; nothing if they have always had them."""
    if "later" in existing.get("axis_kinds", {}) or not kinds.later:
        return {}
    return {"rows_without": sorted(kinds.later)}


def refuse_other_values(existing: Record, request: SweepRequest) -> None:
    """Raise ValueError for values of a later axis that rows without its column would be taken for."""
    for axis in existing.get("rows_without", ()):
        implied = request.kinds.later.get(axis)
        other = [value for product in request.requested for value in product[axis] if value != implied]
        if other:
            raise ValueError(
                f"{axis}: rows of the directory are older than this column, and are all of {implied!r}; "
                f"{other[0]!r} beside them would be mistaken for it: choose another --output"
            )


def refuse_differences(existing: Record, request: SweepRequest) -> None:
    """Raise a ValueError that names the first field in which the directory's sweep differs from the request."""
    advice = "choose another --output, or the directory's own value"
    if existing.get("sweep") != request.name:
        raise ValueError(
            f"--output: the directory holds a sweep of kind {existing.get('sweep')!r}, not {request.name!r}; "
            "choose another --output"
        )
    if existing.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version: the directory has {existing.get('schema_version')!r}, this version writes "
            f"{SCHEMA_VERSION}; choose another --output"
        )
    if "axis_kinds" in existing and not request.kinds.continues(existing["axis_kinds"]):
        raise ValueError(
            f"axis_kinds: the directory was made with {existing['axis_kinds']}, this version has "
            f"{request.kinds.as_record()}; choose another --output"
        )
    refuse_other_values(existing, request)
    recorded = existing["settings"]
    for name in {**recorded, **request.settings}:
        old, new = recorded.get(name), request.settings.get(name)
        if old != new:
            raise ValueError(
                f"{name}: the directory was made with {old!r}, this command asks for {new!r}; {advice}"
            )
    for name, digest in request.definitions.items():
        old = existing.get("definitions", {}).get(name, digest)
        if old != digest:
            raise ValueError(
                f"{name}: its definition has changed since the directory was made ({old}, now {digest}); "
                "choose another --output, or the version that made the directory"
            )


def unrecorded_images(existing: Record | None, definitions: Mapping[str, str]) -> list[str]:
    """Return the definitions of resized images that a directory of an earlier version lacks, by their names."""
    known = {} if existing is None else existing.get("definitions", {})
    return [
        name
        for name in definitions
        if existing is not None and name.startswith(IMAGES_OF) and name not in known
    ]


def plan_of(record: Record, kinds: AxisKinds) -> Plan:
    """Return the plan that a record describes."""
    return read_plan(record["fingerprint"], kinds, record["blocks"])


def read_plan(fingerprint: str, kinds: AxisKinds, blocks: Sequence[Record]) -> Plan:
    """Return a plan from its blocks in sweep.json."""
    implied: Axes = {axis: (value,) for axis, value in kinds.later.items()}
    read = (Block(implied | _read_axes(block["axes"]), block["shard_size"]) for block in blocks)
    return Plan(fingerprint=fingerprint, kinds=kinds, blocks=tuple(read))


def write_blocks(plan: Plan) -> list[Record]:
    """Return the blocks of a plan for sweep.json."""
    return [_write_block(block, plan.kinds.later) for block in plan.blocks]


def _write_block(block: Block, implied: Mapping[str, Value]) -> Record:
    axes = {
        axis: _write_values(values)
        for axis, values in block.axes.items()
        if axis not in implied or values != (implied[axis],)
    }
    return {"axes": axes, "shard_size": block.shard_size}


def _write_values(values: tuple[Value, ...]) -> str | list[Value]:
    integers = [value for value in values if isinstance(value, int)]
    return format_integers(integers) if len(integers) == len(values) else list(values)


def _read_axes(axes: dict[str, Any]) -> Axes:
    return {
        axis: parse_integers(axis, values) if isinstance(values, str) else tuple(values)
        for axis, values in axes.items()
    }
