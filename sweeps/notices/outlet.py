"""A tracker on a thread of its own: what hangs or fails there is told once and then left alone."""

import queue
import threading
import time
from collections.abc import Callable

from sweeps.notices.sink import About, Connection, End, Sink, Update

# Seconds that a tracker may take for one call before it counts as hung.
HANG = 60.0
# Updates that wait. A tracker that is slower than they come gets the newest, which hold all numbers but points.
MOST_WAITING = 50


class Outlet:
    """Passes updates to a tracker, in order, until it fails. `tell` gets one line, the first time."""

    def __init__(self, name: str, sink: Sink, about: About, tell: Callable[[str], None]) -> None:
        self._name, self._sink, self._about, self._tell = name, sink, about, tell
        self._waiting: queue.Queue[Update | End] = queue.Queue(MOST_WAITING)
        self._since = time.monotonic()
        self._dropped = False
        # A daemon: a call that never returns must not keep the process.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Update | End) -> None:
        """Hand over an update, or the end; never waits."""
        if not self._dropped and not self._waiting.empty() and time.monotonic() - self._since > HANG:
            self._drop(f"has not answered for {HANG:.0f} s")
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(item)

    def wait(self, seconds: float) -> None:
        """Wait until all has been passed on, at most so long; say if it was not."""
        self._thread.join(seconds)
        if self._thread.is_alive() and not self._dropped:
            self._drop("did not take its last notice in time")

    def _run(self) -> None:
        try:
            connection = self._sink.open(self._about)
            while not self._dropped and not self._pass_on(connection, self._waiting.get()):
                pass
        except BaseException as error:  # whatever a library raises, SystemExit too, ends this tracker alone
            lines = str(error).strip().splitlines() or [""]
            self._drop(f"{type(error).__name__}: {lines[0]}")

    def _pass_on(self, connection: Connection, item: Update | End) -> bool:
        """Return whether that was the end."""
        self._since = time.monotonic()
        if isinstance(item, str):
            connection.close(item)
            return True
        connection.send(item)
        self._since = time.monotonic()
        return False

    def _drop(self, reason: str) -> None:
        if not self._dropped:
            self._dropped = True
            self._tell(f"notify: {self._name} gets no more notices: {reason[:300]}; the sweep goes on")
