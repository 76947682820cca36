"""TensorBoard: event files in a folder, which `tensorboard --logdir FOLDER` shows."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sweeps.notices.sink import About, Connection, End, Update


@dataclass(frozen=True, kw_only=True)
class TensorBoard:
    """The settings are those of `torch.utils.tensorboard.SummaryWriter`."""

    library: ClassVar[str] = "tensorboard"

    log_dir: str | None = None
    flush_secs: int = 10
    filename_suffix: str = ""

    def folder(self, run: str) -> Path:
        """Return the folder of the event files. Raise ValueError if it is to be in an object store."""
        if self.log_dir is not None:
            if "://" in self.log_dir:
                raise ValueError(
                    f"notify: log_dir={self.log_dir} is no folder; accepted is a path on this machine"
                )
            return Path(self.log_dir).expanduser().absolute()
        if "://" in run:
            raise ValueError(
                f"notify: tensorboard needs a folder on this machine, and {run} is not on it; "
                "say tensorboard:log_dir=FOLDER"
            )
        return Path(run) / "tensorboard"

    def check(self, run: str) -> None:
        folder = self.folder(run)
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            tempfile.TemporaryFile(dir=existing).close()
        except OSError as error:
            reason = f"{existing}: {error.strerror}"
            raise ValueError(
                f"notify: log_dir={folder} cannot be written ({reason}); choose another log_dir"
            ) from None

    def open(self, about: About) -> Connection:
        return _EventFiles(self, about)


class _EventFiles:
    """TensorBoard's own writer, below torch's: a process that only writes numbers need not load torch."""

    def __init__(self, settings: TensorBoard, about: About) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = str(settings.folder(about.run))
        suffix = settings.filename_suffix
        self._writer = EventFileWriter(folder, flush_secs=settings.flush_secs, filename_suffix=suffix)
        rows = [f"| {name} | {value} |" for name, value in about.configuration.items()]
        table = "\n".join(["| option | value |", "|---|---|", *rows])
        self._add(text_pb("configuration", table), 0)
        self._writer.flush()

    def send(self, update: Update) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in update.values.items()]
        self._add(Summary(value=values), update.step)
        for point in update.points:
            value = Summary.Value(tag=point.name, simple_value=point.value)
            self._add(Summary(value=[value]), point.step)

    def close(self, end: End) -> None:
        self._writer.close()

    def _add(self, summary: object, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
