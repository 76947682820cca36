"""How far a run has come: the shards and cells of its plan, what is missing, and why shards failed."""

import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.schemas.axis_kinds import axis_kinds, kinds_of_record


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A quarantined shard: the line of its traceback that says why, and the whole traceback."""

    shard_id: str
    attempts: int
    headline: str
    traceback: str


def failure(shard_id: str, record: dict[str, Any]) -> Failure:
    """Return the failure that a record of failures/ describes."""
    traceback = str(record.get("traceback", ""))
    return Failure(
        shard_id=shard_id,
        attempts=int(record.get("attempts", 0)),
        headline=_headline(traceback),
        traceback=traceback,
    )


def missing_shards(
    num_committed: int, num_planned: int | None, num_quarantined: int, num_unusable: int = 0
) -> str:
    """Return a sentence that says what an unfinished run lacks."""
    if num_planned is None:
        return f"{num_committed:,} shards are committed; how many were planned, sweep.json does not say."
    if num_committed >= num_planned and num_unusable:
        return (
            f"All {num_planned:,} planned shards are committed; images that could not be used have no rows."
        )
    if num_committed >= num_planned:
        return (
            f"All {num_planned:,} planned shards are committed, but the run was not closed: _SUCCESS is "
            "missing. The sweep's command, given again, closes it."
        )
    reasons = f", {num_quarantined:,} of them quarantined after failures" if num_quarantined else ""
    missing = num_planned - num_committed
    return f"{num_committed:,} of {num_planned:,} planned shards are committed; {missing:,} are missing{reasons}."


def planned_shards(sweep: dict[str, Any]) -> int | None:
    """Return the number of shards of all blocks of a sweep.json; None if the kinds or the plan are unknown."""
    kinds = axis_kinds(sweep)
    if kinds is None or not sweep.get("blocks"):
        return None
    return sum(_block_shards(block, kinds.cells, (*kinds.cells, *kinds.whole)) for block in sweep["blocks"])


def missing_beside(sweep: dict[str, Any], committed: Mapping[str, tuple[int, int]]) -> str:
    """Return a sentence on tables beside results/ that lack shards; `committed` has shards and rows of each."""
    sentences = []
    for folder, entry in (sweep.get("beside") or {}).items():
        kinds = kinds_of_record(entry["axis_kinds"])
        inside = (*kinds.cells, *kinds.whole)
        num_planned = sum(_block_shards(block, kinds.cells, inside) for block in entry["blocks"])
        if (done := committed.get(folder, (0, 0))[0]) < num_planned:
            sentences.append(f"Of {folder}/, {done:,} of {num_planned:,} planned shards are committed.")
    return " ".join(sentences)


def planned_cells(sweep: dict[str, Any]) -> int:
    """Return the number of cells of all blocks of a sweep.json: for generation, one image each."""
    sizes = (map(num_values, block["axes"].values()) for block in sweep.get("blocks", []))
    return sum(math.prod(axes) for axes in sizes)


def num_values(values: str | list[Any]) -> int:
    """Return how many values an axis of sweep.json has: a list, or integers as ranges such as 0-31,291."""
    if isinstance(values, list):
        return len(values)
    ends = (part.split("-") for part in values.split(","))
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def _block_shards(block: dict[str, Any], cells: Iterable[str], inside: Iterable[str]) -> int:
    """Return the shards of a block: `shard_size` cells each, for each value of the axes not inside a shard."""
    sizes = {axis: num_values(values) for axis, values in block["axes"].items()}
    num_groups = math.prod(size for axis, size in sizes.items() if axis not in inside)
    return num_groups * math.ceil(math.prod(sizes[axis] for axis in cells) / block["shard_size"])


def _headline(traceback: str) -> str:
    """Return the first line below the stack, as messages may run on for many lines; without a stack the last."""
    lines = traceback.strip().splitlines() or ["no traceback was recorded"]
    frames = [index for index, line in enumerate(lines) if line.lstrip().startswith('File "')]
    below = [line for line in lines[frames[-1] :] if not line.startswith(" ")] if frames else []
    return textwrap.shorten(below[0] if below else lines[-1], 200, placeholder=" ...")
