"""What a script hands to the runner: a sweep's cells, its settings, and how an actor does the work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cluster.pool import JobFactory, PoolOptions
from sweeps.cli import SweepOptions
from sweeps.plan import Axes, Shard
from sweeps.schemas.axis_kinds import AxisKinds
from sweeps.side_table import SideTable
from sweeps.store import RunDirectory
from sweeps.work import Data


@dataclass(frozen=True)
class Preparation:
    """What `Sweep.prepare` is given: the shards that are not committed, the workers that it may use, a way to
    tell the user, and what an actor calls first: ValueError on a machine that does not see the run directory."""

    shards: Iterator[Shard]
    workers: PoolOptions
    log: Callable[[str], None]
    check_node: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a script hands to the runner: cells, settings, and how an actor does the work.

    `requested` are the products of axes whose cells the command wants. `settings` shape the rows: a run directory
    refuses a sweep whose settings differ from its own. `definitions` say, as digests or in words, what the axes
    name, such as recipes: a name may be added, never change its meaning. `warm_up` measures seconds per cell on
    this machine by the value of the first group axis, "" where there is none; `--plan` calls it. `batch_size` is
    `chosen_batch_size`. `check` tries the work on one cell, before it starts, and raises ValueError if it cannot
    work. `prepare` makes what the shards read before the pool starts, and may commit some of them on the way.
    `data` is given by sweeps whose cells are images: such a shard is committed even if some of its images cannot
    be used. `notes` are lines for the user to read before work starts. `shard_size_on_gpu` is the shard size where
    workers use GPUs. `beside` says what the command wants of a table beside results/, whose shards follow those of
    results/. `check_first` is given the first shard that is not committed, and raises ValueError if this command
    cannot compute it.
    """

    name: str
    kinds: AxisKinds
    requested: tuple[Axes, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]
    shard_size: int
    factory: JobFactory
    shared: Any
    bytes_per_cell: int
    warm_up: Callable[[], dict[str, float]]
    definitions: dict[str, str] = field(default_factory=dict)
    batch_size: int | None = None
    check: Callable[[], None] | None = None
    prepare: Callable[[Preparation], None] | None = None
    notes: tuple[str, ...] = ()
    data: Data | None = None
    beside: SideTable | None = None
    check_first: Callable[[Shard], None] | None = None
    shard_size_on_gpu: int | None = None

    def cells_per_shard(self, options: SweepOptions, *, on_gpu: bool) -> int:
        """Return the size of shards that a command adds; those that are recorded keep theirs on any device."""
        by_device = self.shard_size_on_gpu if on_gpu else None
        return options.shard_size or by_device or self.shard_size


def chosen_batch_size(options: SweepOptions) -> int | None:
    """Return the batch size given, else the one in the run directory, else None.

    The last bits of a row depend on it, so a command that continues a run uses the same one.
    """
    if options.batch_size is not None:
        return options.batch_size
    size: int | None = recorded(options).get("batch_size")
    return size


def recorded(options: SweepOptions) -> dict[str, Any]:
    """Return what the run directory's sweep.json holds, nothing if there is none yet."""
    return RunDirectory(options.output).read_sweep() or {}
