"""A run directory, opened to be reported on: what it holds, and whether that is all of what it was asked for."""

import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from analysis import load
from sweeps.schemas import SCHEMA_VERSION
from sweeps.store import RunDirectory
from sweeps.store.errors import explained
from sweeps.store.maintenance import Status, open_run, status

# The axes whose points fill shards; a shard has one value of each of a sweep's other axes, but for the whole ones.
_CELL_AXES = {
    "attack": ("image_index",),
    "attribute": ("image_index",),
    "attribute_training": ("segment",),
    "generate": ("seed", "class_index"),
    "modify": ("image_index",),
    "tune_recipe": ("chunk",),
}
# The axes that a shard holds all values of.
_WHOLE_AXES = {
    "attack": ("epsilon",),
    "attribute": ("method",),
    "attribute_training": ("method", "image_index"),
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A shard that was given up: the line of its traceback that says why, and all of it."""

    shard_id: str
    attempts: int
    headline: str
    traceback: str


@dataclass(frozen=True)
class Source:
    """A run directory of a report; `index` counts from 0 in the order of the command line."""

    index: int
    run: RunDirectory
    status: Status = field(repr=False)

    @property
    def id(self) -> str:
        """Unique in the report and safe in paths and anchors: `run-0`. The folder of the run's pages."""
        return f"run-{self.index}"

    @property
    def url(self) -> str:
        """Where the run is: what `analysis.load` takes."""
        return self.run.url

    @property
    def name(self) -> str:
        """The last part of the run's path."""
        return self.url.rstrip("/").rpartition("/")[2] or self.url

    @property
    def kind(self) -> str:
        """Which sweep: generate, attack, attribute, attribute_training, modify or tune_recipe."""
        return str(self.sweep.get("sweep"))

    @property
    def sweep(self) -> dict[str, Any]:
        """What sweep.json holds."""
        return self.status.sweep

    @cached_property
    def num_planned(self) -> int | None:
        """Shards of the whole plan; None where sweep.json does not say."""
        return planned_shards(self.sweep)

    @property
    def finished(self) -> bool:
        """Whether every shard of the plan is committed."""
        return self.status.succeeded

    @cached_property
    def failures(self) -> list[Failure]:
        """The quarantined shards."""
        return [_failure(shard_id, record) for shard_id, record in sorted(self.status.failures.items())]

    def missing(self) -> str:
        """What an unfinished run lacks, in a sentence; empty for a finished one."""
        if self.finished:
            return ""
        committed, planned = self.status.num_committed, self.num_planned
        if planned is None:
            return f"{committed:,} shards are committed; how many were planned, sweep.json does not say."
        if committed >= planned:
            return (
                f"All {planned:,} planned shards are committed, but the run was not closed: _SUCCESS is "
                "missing. The sweep's command, given again, closes it."
            )
        given_up = len(self.failures)
        reasons = f", {given_up:,} of them quarantined after failures" if given_up else ""
        missing = planned - committed
        return f"{committed:,} of {planned:,} planned shards are committed; {missing:,} are missing{reasons}."


def open_sources(runs: Sequence[str]) -> list[Source]:
    """The runs by path or URL. ValueError for one given twice, that is none, is empty or has an unknown schema."""
    opened = [_refuse_unreadable(open_run(run)) for run in runs]
    urls = [run.url for run in opened]
    for url in urls:
        if urls.count(url) > 1:
            raise ValueError(f"run {url} is given {urls.count(url)} times: give each run once")
    return [Source(index, run, _status(run)) for index, run in enumerate(opened)]


def planned_shards(sweep: dict[str, Any]) -> int | None:
    """Shards of all blocks of a sweep.json; None for a sweep that is not known or a plan that is not there."""
    cells = _CELL_AXES.get(str(sweep.get("sweep")))
    if cells is None or not sweep.get("blocks"):
        return None
    beside = cells + _WHOLE_AXES.get(str(sweep["sweep"]), ())
    return sum(_block_shards(block, cells, beside) for block in sweep["blocks"])


def planned_cells(sweep: dict[str, Any]) -> int:
    """Cells of all blocks of a sweep.json: for generation, one image each."""
    sizes = (map(num_values, block["axes"].values()) for block in sweep.get("blocks", []))
    return sum(math.prod(axes) for axes in sizes)


def num_values(values: str | list[Any]) -> int:
    """How many values an axis of sweep.json has: a list, or integers as ranges such as 0-31,291."""
    if isinstance(values, list):
        return len(values)
    ends = (part.split("-") for part in values.split(","))
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def _block_shards(block: dict[str, Any], cells: Iterable[str], beside: Iterable[str]) -> int:
    sizes = {axis: num_values(values) for axis, values in block["axes"].items()}
    num_groups = math.prod(size for axis, size in sizes.items() if axis not in beside)
    return num_groups * math.ceil(math.prod(sizes[axis] for axis in cells) / block["shard_size"])


def _refuse_unreadable(run: RunDirectory) -> RunDirectory:
    found = (run.read_sweep() or {}).get("schema_version", SCHEMA_VERSION)
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version of {run.url} is {found!r}: this release reads {SCHEMA_VERSION}; "
            "use the release that wrote the run"
        )
    # Reads one shard's footer: an empty run is refused here, before any work.
    load.column_names(run.url)
    return run


def _status(run: RunDirectory) -> Status:
    try:
        with explained(run.url, "read"):
            return status(run)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"a file in {run.url}, in failures/ or progress.json, is no JSON: {error}"
        ) from error


def _failure(shard_id: str, record: dict[str, Any]) -> Failure:
    traceback = str(record.get("traceback", ""))
    return Failure(
        shard_id=shard_id,
        attempts=int(record.get("attempts", 0)),
        headline=_headline(traceback),
        traceback=traceback,
    )


def _headline(traceback: str) -> str:
    """The first line below the stack, as messages may run on for many lines; without a stack, the last line."""
    lines = traceback.strip().splitlines() or ["no traceback was recorded"]
    frames = [index for index, line in enumerate(lines) if line.lstrip().startswith('File "')]
    below = [line for line in lines[frames[-1] :] if not line.startswith(" ")] if frames else []
    return textwrap.shorten(below[0] if below else lines[-1], 200, placeholder=" ...")
