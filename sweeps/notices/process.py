"""The process beside a sweep that tells its trackers: reads lines of JSON from the sweep, and its committed rows.

The first line says which trackers and what about, each other one what has changed, the last how the sweep ended.
Without a last line the sweep has died. What it prints goes on the sweep's terminal, line by line.
"""

import contextlib
import json
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import BaseError

from sweeps.notices.outlet import Outlet
from sweeps.notices.registry import chosen
from sweeps.notices.sink import About, End, Update
from sweeps.schemas.rates import Means, Point, columns_of, rates_of, training_points
from sweeps.store import RunDirectory
from sweeps.store.maintenance import side_tables

SEND_EVERY = 5.0  # seconds between two updates
# Seconds for all that is left to do when the sweep has ended: rows to read, and trackers to tell.
READING, GOODBYE = 5.0, 12.0
# Below Ray's workers, who are at 15: on a machine that is busy, the notices wait.
_NICENESS = 19

Message = dict[str, Any] | None  # None: nothing more will come


class Committed:
    """The committed shards of a run directory, and the rates of those whose rows have been read.

    New shards are read first. Then come those that earlier commands have committed, one by one, while nothing else
    is to do. Until then there are no rates, since those of a part would look like a jump.
    """

    def __init__(self, url: str, sweep: str) -> None:
        self._run, self._sweep = RunDirectory(url), sweep
        self._earlier = deque(self._run.committed())
        beside = (table.committed() for table, _ in side_tables(self._run))
        self._known = {*self._earlier, *(shard_id for ids in beside for shard_id in ids)}
        self._new: deque[str] = deque()
        self._read: set[str] = set()
        self._points: list[Point] = []
        self._means = Means()

    @property
    def num_shards(self) -> int:
        """Shards committed by any command: the clock of all numbers, since it never goes back."""
        return len(self._known)

    def add(self, shard_id: str) -> None:
        """Note a shard that was committed now."""
        self._known.add(shard_id)
        self._new.append(shard_id)

    def read_one(self) -> bool:
        """Read the rows of one more shard; return False if there was none."""
        waiting = self._new or self._earlier
        if not waiting:
            return False
        shard_id = waiting.popleft()
        if shard_id not in self._read:
            self._read.add(shard_id)
            # One beside results/ has other rows; what is wrong with a file is for `verify` to say.
            with contextlib.suppress(OSError, BaseError, pa.ArrowException):
                self._add_rows(shard_id)
        return True

    @property
    def num_unread(self) -> int:
        """Shards of earlier commands whose rows have not been read."""
        return len(self._earlier)

    def rates(self) -> dict[str, float]:
        """Return the rates of all rows that have been read, and their number."""
        if self._earlier or not self._means.num_rows:
            return {}
        return self._means.values() | {"rows_read": self._means.num_rows}

    def points(self) -> Sequence[Point]:
        """Return the points of the shards read since the last call, by step."""
        points, self._points = sorted(self._points, key=lambda point: point.step), []
        return points

    def _add_rows(self, shard_id: str) -> None:
        file = pq.ParquetFile(self._run.files.open(f"results/{shard_id}.parquet"))
        columns = columns_of(self._sweep, file.schema_arrow)
        if not columns:
            return
        rows = file.read(columns=columns)
        self._means.add(rows, rates_of(self._sweep, rows.schema))
        if self._sweep == "attribute_training":
            self._points += training_points(rows)


def report(messages: "queue.Queue[Message]", tell: Callable[[str], None]) -> None:
    """Tell the trackers what the messages say, until they end."""
    first = messages.get()
    if first is None:
        return
    about = About(**first["about"])
    outlets = [Outlet(name, sink, about, tell) for name, sink in chosen(first["notify"]).items()]
    committed = Committed(about.run, about.sweep)
    progress: dict[str, float] = {}
    end: End = "interrupted"
    is_open, next_send = True, 0.0
    while is_open:
        message = _next(messages, wait=0.0 if committed.read_one() else next_send - time.monotonic())
        is_open = message is not _CLOSED
        if message and "end" in message:
            end, is_open = message["end"], False
        elif message:
            progress = message["progress"]
            if message["committed"] is not None:
                committed.add(message["committed"])
        if time.monotonic() >= next_send and progress:
            next_send = time.monotonic() + SEND_EVERY
            _send(outlets, committed, progress)
    deadline = time.monotonic() + READING
    while time.monotonic() < deadline and committed.read_one():
        pass
    if committed.num_unread:
        tell(
            f"notify: no rates, since {committed.num_unread} shards of earlier commands could not be read in time"
        )
    _send(outlets, committed, progress)
    _say_goodbye(outlets, end)


_CLOSED: dict[str, Any] = {}


def _next(messages: "queue.Queue[Message]", wait: float) -> Message:
    """Return the next message, `_CLOSED` if there will be none, None if none came in time."""
    try:
        message = messages.get(timeout=max(wait, 1e-3))
    except queue.Empty:
        return None
    return _CLOSED if message is None else message


def _send(outlets: Iterable[Outlet], committed: Committed, progress: dict[str, float]) -> None:
    update = Update(committed.num_shards, progress | committed.rates(), committed.points())
    for outlet in outlets:
        outlet.put(update)


def _say_goodbye(outlets: Sequence[Outlet], end: End) -> None:
    for outlet in outlets:
        outlet.put(end)
    deadline = time.monotonic() + GOODBYE
    for outlet in outlets:
        outlet.wait(max(0.0, deadline - time.monotonic()))


def _read(lines: TextIO, messages: "queue.Queue[Message]") -> None:
    """Take lines as they come: the pipe is short, and the sweep gives up a process that lets it fill."""
    for line in lines:
        messages.put(json.loads(line))
    messages.put(None)


def main() -> None:
    """Report what stdin says. The libraries get neither stdin nor the terminal, to ask or to print."""
    os.nice(_NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which says how it ended
    lines = os.fdopen(os.dup(0), encoding="utf-8")
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    messages: queue.Queue[Message] = queue.Queue()
    threading.Thread(target=_read, args=(lines, messages), daemon=True).start()

    def tell(line: str) -> None:
        with contextlib.suppress(OSError):  # the sweep has gone
            print(line, file=out)

    try:
        report(messages, tell)
    except Exception as error:
        tell(
            f"notify: no more notices: {type(error).__name__}: {error}; the sweep goes on".replace("\n", " ")
        )
    finally:
        # Threads that hang, and what libraries do at exit, must not keep it.
        os._exit(0)


if __name__ == "__main__":
    main()
