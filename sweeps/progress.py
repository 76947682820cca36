"""How far a run is: a bar on a terminal, lines in a log, and `progress.json` in the run directory."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from sweeps.store.terminal_text import terminal_text

LOG_EVERY = 30.0  # seconds between two lines of a log
WRITE_EVERY = 5.0  # seconds between two writes of progress.json


class Progress:
    """Counts what the pool reports; a context manager around the run."""

    def __init__(self, name: str, total: int, write: Callable[[dict[str, Any]], None]) -> None:
        self.total = total
        self.committed = 0  # in this run
        self.skipped = 0  # committed before it
        self.quarantined: list[str] = []
        self.cells = 0
        self._write = write
        # Called with the counts, and with the id of the shard that was committed, if it was that.
        self.listener: Callable[[dict[str, float], str | None], None] | None = None
        self._by_worker: Counter[str] = Counter()
        self._start = self._last_line = self._last_write = time.monotonic()
        # Notebooks and some builds set FORCE_COLOR, for which rich takes a pipe for a terminal: a bar would be a
        # thousand lines there.
        self.console = Console(file=sys.stderr, force_terminal=None if sys.stderr.isatty() else False)
        self._bar = Bar(
            TextColumn(name),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("shards"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[red]{task.fields[failures]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=total, rate="", failures="")

    def __enter__(self) -> Self:
        self._bar.start()
        self._notify()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._write(self.snapshot())

    @property
    def done(self) -> int:
        """Shards that are committed, by this run or before it."""
        return self.skipped + self.committed

    def skip(self) -> None:
        """Count a shard of the plan that was committed before this run."""
        self.skipped += 1
        if self.skipped % 1000 == 0:
            self.refresh()

    def found(self, done: int) -> None:
        """Take the number of committed shards from the run directory, and write it there."""
        self.skipped = max(self.skipped, done - self.committed)
        self._write(self.snapshot())

    def commit(self, worker: str, cells: int, shard_id: str | None = None) -> None:
        """Count a shard that this worker committed."""
        self.committed += 1
        self.cells += cells
        self._by_worker[worker] += cells
        self.refresh()
        self._notify(shard_id)

    def quarantine(self, shard_id: str) -> None:
        """Count a shard that was given up."""
        self.quarantined.append(shard_id)
        self.refresh()
        self._notify()

    def drop(self, num_shards: int) -> None:
        """Take shards out of the total that turned out not to be needed."""
        self.total -= num_shards
        self.refresh()
        self._notify()

    def log(self, message: str) -> None:
        """Print a line above the bar, or in the log."""
        self.console.print(terminal_text(message), highlight=False, markup=False, emoji=False, soft_wrap=True)

    def refresh(self) -> None:
        """Bring the bar, the log and progress.json up to date, the last two not too often."""
        now = time.monotonic()
        failures = f"{len(self.quarantined)} quarantined" if self.quarantined else ""
        self._bar.update(
            self._task, total=self.total, completed=self.done, rate=self._rate(), failures=failures
        )
        if not self.console.is_terminal and now - self._last_line > LOG_EVERY:
            self._last_line = now
            self.log(f"{self.done}/{self.total} shards, {self._rate()} {failures}".rstrip())
        if now - self._last_write > WRITE_EVERY:
            self._last_write = now
            self._write(self.snapshot())

    def counts(self) -> dict[str, float]:
        """Return how far the run is, and how fast it was so far: what trackers are told."""
        seconds = 60 * self._minutes()
        return {
            "progress/total_shards": self.total,
            "progress/committed_shards": self.done,
            "progress/quarantined_shards": len(self.quarantined),
            "progress/shards_per_second": self.committed / seconds,
            "progress/cells_per_second": self.cells / seconds,
        }

    def snapshot(self) -> dict[str, Any]:
        """Return what progress.json holds: counts, seconds, and cells per minute of each worker."""
        minutes = self._minutes()
        return {
            "total_shards": self.total,
            "committed_shards": self.done,
            "committed_by_this_run": self.committed,
            "quarantined_shards": list(self.quarantined),
            "cells_by_this_run": self.cells,
            "seconds": round(60 * minutes, 3),
            "cells_per_minute_by_worker": {
                worker: round(cells / minutes, 2) for worker, cells in sorted(self._by_worker.items())
            },
        }

    def _notify(self, shard_id: str | None = None) -> None:
        if self.listener is not None:
            self.listener(self.counts(), shard_id)

    def _minutes(self) -> float:
        return max(time.monotonic() - self._start, 1e-3) / 60

    def _rate(self) -> str:
        if not self._by_worker:
            return "no worker has finished a shard yet"
        return f"{self.cells / self._minutes():.1f} cells/min on {len(self._by_worker)} workers"
