"""The sweep's side of its notices: writes lines into a pipe, never waits, and knows of no tracker."""

import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sweeps.notices.sink import About, End
from sweeps.store import RunDirectory

# Seconds that the end of a sweep may wait for its trackers; the process itself gives up a little earlier.
GOODBYE = 20.0
_SILENT = 1.5  # seconds until the user is told what is waited for
_LONGEST, _MOST = 500, 100  # text of an option, options
_ID = "notices_id"
_ENDS: dict[int, End] = {0: "finished", 130: "interrupted"}

Log = Callable[[str], None]


class Notices:
    """Tells the trackers that `notify` lists; a context manager around the work. Does nothing for `none`."""

    def __init__(self, notify: str, about: About | None, log: Log) -> None:
        self._log = log
        self._end: End = "failed"
        self._process: subprocess.Popen[bytes] | None = None
        if about is None:
            return
        folder = Path(__file__).resolve().parents[len(__package__.split("."))]
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            self._process = subprocess.Popen(
                # -P: a folder `wandb` or `mlflow` of the user's own is no library.
                [sys.executable, "-P", "-m", f"{__package__}.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the sweep
            )
        except OSError as error:
            self._log(f"notify: no notices: {error}; the sweep goes on")
            return
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._reader = threading.Thread(target=self._print, args=(self._process,), daemon=True)
        self._reader.start()
        self._write({"notify": notify, "about": asdict(about)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._end = "interrupted"
        self._write({"end": self._end})
        self._close()

    def tell(self, progress: Mapping[str, float], shard_id: str | None) -> None:
        """Pass on how far the sweep is, and which shard was committed, if it was that."""
        if self._process is not None:
            self._write({"progress": progress, "committed": shard_id})

    def ends(self, status: int) -> int:
        """Note and return the exit status of the work; without one it counts as failed."""
        self._end = _ENDS.get(status, "failed")
        return status

    def _write(self, message: dict[str, Any]) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        line = (json.dumps(message) + "\n").encode()
        try:
            written = os.write(self._process.stdin.fileno(), line)
        except OSError:  # the pipe is full, or nobody reads it any more
            written = 0
        if written < len(line):
            self._log("notify: no more notices: their process does not read them; the sweep goes on")
            self._give_up()

    def _close(self) -> None:
        """Wait for the trackers, not long, and not if the user says stop."""
        if (process := self._process) is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            try:
                process.wait(_SILENT)
            except subprocess.TimeoutExpired:
                self._log(
                    f"Waiting up to {GOODBYE:.0f} s for the trackers of --notify; Ctrl-C leaves without."
                )
                process.wait(GOODBYE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._log("notify: the trackers did not take their last notices")
        self._give_up()

    def _give_up(self) -> None:
        if (process := self._process) is None:
            return
        self._process = None
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
        process.wait()
        self._reader.join(1.0)

    def _print(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._log(line.decode(errors="replace").rstrip())


def open_notices(
    notify: str, sweep: str, configuration: Mapping[str, Any], run: RunDirectory, log: Log
) -> Notices:
    """Return the notices of a sweep in a run directory whose sweep.json is written."""
    if notify == "none":
        return Notices(notify, None, log)
    flat = dict(list(_flat(configuration))[:_MOST])
    return Notices(notify, About(sweep=sweep, run=run.url, id=_id_of(run), configuration=flat), log)


def _id_of(run: RunDirectory) -> str:
    """Return the id that all commands on the directory share, so that a tracker continues its run of it."""
    recorded = run.read_sweep() or {}
    if _ID not in recorded:
        new = {_ID: secrets.token_hex(8)}
        recorded = run.update_sweep(lambda record: new | (record or {}))
    return str(recorded[_ID])


def _flat(configuration: Mapping[str, Any], prefix: str = "") -> Any:
    """Yield names with dots and values of a nested configuration."""
    for name, value in configuration.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float):
            yield f"{prefix}{name}", value
        else:
            yield f"{prefix}{name}", str(value)[:_LONGEST]
