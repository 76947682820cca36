"""What a sweep's run directory still lacks, and the images that could not be used."""

import itertools
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sweeps.plan import IMAGE_AXIS, Axes, Plan, Shard
from sweeps.progress import Progress
from sweeps.record import plan_of
from sweeps.schemas.axis_kinds import AxisKinds
from sweeps.side_table import side_plans
from sweeps.store import ImageFailure, RunDirectory
from sweeps.store.image_failures import is_planned, unresolved

# Failed images that are named on the terminal; `failures/` has all of them.
MAX_NAMED = 5


class Data(Protocol):
    """The data set of a sweep over images: `sweeps.images.data.SweepData`."""

    def record(self, run: RunDirectory) -> None:
        """Write into the run directory what each image is, before rows are computed from it."""

    def repaired(self, failures: Collection[ImageFailure]) -> set[int]:
        """Return those of the images that failed before which may work now."""
        ...


class PlannedSweep(Protocol):
    """What a sweep says of its work."""

    @property
    def name(self) -> str: ...
    @property
    def requested(self) -> tuple[Axes, ...]: ...
    @property
    def data(self) -> Data | None: ...


@dataclass(frozen=True)
class Planned:
    """Shards that a command wants to find committed in one folder of the run directory."""

    plan: Plan
    run: RunDirectory  # of this folder
    requested: Sequence[Axes] | None = None  # None for all

    def is_complete(self, committed: Container[str]) -> bool:
        """Return whether all shards are committed, and all images that failed have been tried again."""
        planned = sum(map(is_planned, self.run.committed()))
        return planned == self.plan.num_shards() and not unresolved(self.run.failed_images(), committed)


def tables_of(record: dict[str, Any], kinds: AxisKinds, run: RunDirectory) -> list[Planned]:
    """Return all that a run directory was ever asked for: of results/, and of each table beside it."""
    beside = [Planned(plan, run.beside(folder)) for folder, plan in side_plans(record)]
    return [Planned(plan_of(record, kinds), run), *beside]


class Work:
    """The plan minus what results/ lists, lazily, and how far it is; then the same of a table beside results/.

    A committed shard some of whose images failed is done, unless an image that this command asks for has been
    repaired: then the shard after it, which holds the failed images alone, takes its place.
    """

    def __init__(
        self, plan: Plan, sweep: PlannedSweep, run: RunDirectory, beside: Sequence[Planned] = ()
    ) -> None:
        self.sweep, self.run = sweep, run
        self._parts = (Planned(plan, run, sweep.requested), *beside)
        total = sum(part.plan.num_shards(part.requested) for part in self._parts)
        self.progress = Progress(sweep.name, total, run.write_progress)
        self.failures = FailedImages(sweep)
        remaining = itertools.chain.from_iterable(map(self._remaining, self._parts))
        self.first = next(remaining, None)
        self.is_done = self.first is None
        self.shards = remaining if self.first is None else itertools.chain([self.first], remaining)

    def num_cells(self) -> int:
        """Return the number of cells of all shards, committed or not."""
        return sum(len(shard.cells) for part in self._parts for shard in part.plan.shards(part.requested))

    def count_again(self) -> None:
        """Count on the disk which shards are done, as an interruption finds them.

        Workers commit before the driver hears of it, and shards that were committed before this run are passed
        over one after the other.
        """
        self.progress.found(sum(map(self._num_done, self._parts)))

    def _num_done(self, part: Planned) -> int:
        committed = set(part.run.committed())
        failed = part.run.failed_images() if self.sweep.data is not None else {}
        return sum(
            planned.id in committed and self._next(part.plan, planned, committed, failed) is None
            for planned in part.plan.shards(part.requested)
        )

    def _remaining(self, part: Planned) -> Iterator[Shard]:
        committed = set(part.run.committed())
        failed = part.run.failed_images() if self.sweep.data is not None else {}
        for planned in part.plan.shards(part.requested):
            shard = self._next(part.plan, planned, committed, failed) if planned.id in committed else planned
            if shard is None:
                self.progress.skip()
            else:
                yield shard

    def _next(
        self, plan: Plan, shard: Shard, committed: set[str], failed: dict[str, tuple[ImageFailure, ...]]
    ) -> Shard | None:
        """Return the shard that a committed one still needs, None if it needs none, or if none could help."""
        while failures := failed.get(shard.id):
            after = plan.shard_after(shard, {failure.image_index for failure in failures})
            if after.id not in committed:
                asked = self.failures.requested(failures)
                if self.failures.any_repaired(asked):
                    return after
                self.failures.add(asked)
                return None
            shard = after
        return None


class FailedImages:
    """The images that this command asks for and that could not be used, by index."""

    def __init__(self, sweep: PlannedSweep) -> None:
        self._data = sweep.data
        self._requested = {index for product in sweep.requested for index in product.get(IMAGE_AXIS, ())}
        self._repaired: dict[ImageFailure, bool] = {}
        self.by_index: dict[int, ImageFailure] = {}

    def requested(self, failures: Collection[ImageFailure]) -> list[ImageFailure]:
        """Return the failures of the images that this command asks for."""
        return [failure for failure in failures if failure.image_index in self._requested]

    def any_repaired(self, failures: Collection[ImageFailure]) -> bool:
        """Return whether at least one of the images may work now. Each is looked at once: shards share them."""
        assert self._data is not None
        for failure in failures:
            if failure not in self._repaired:
                self._repaired[failure] = bool(self._data.repaired([failure]))
        return any(self._repaired[failure] for failure in failures)

    def add(self, failures: Collection[ImageFailure]) -> None:
        """Count images that could not be used."""
        self.by_index |= {failure.image_index: failure for failure in self.requested(failures)}

    def describe(self) -> str:
        """Return how many there are, with the first of them and their reasons."""
        named = [f"  {each.describe()}" for _, each in sorted(self.by_index.items())[:MAX_NAMED]]
        more = len(self.by_index) - len(named)
        count = f"{len(self.by_index)} image{'s' if len(self.by_index) > 1 else ''} could not be used:"
        return "\n".join([count, *named, *([f"  and {more} more"] if more else [])])
