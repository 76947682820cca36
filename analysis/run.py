"""A run directory, opened once and passed around: its rows, its images, its sweep.json and its state."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import image_files, result_files
from analysis.progress import Failure, failure, missing_beside, missing_shards, planned_cells, planned_shards
from sweeps.schemas import SCHEMA_VERSION
from sweeps.store import ImageFailure, RunDirectory, maintenance
from sweeps.store.errors import explained
from sweeps.store.maintenance import Status


@dataclass(frozen=True)
class Run:
    """An opened run directory. What is asked of it twice is read once.

    `index` counts the runs of a report from 0, in the order of the command line. `natural` is a run of natural
    images that a report shows beside pictures of units or classes.
    """

    directory: RunDirectory
    index: int = 0
    natural: "Run | None" = None

    def __str__(self) -> str:
        return self.url

    @property
    def id(self) -> str:
        """`run-0`: unique in a report, safe in paths and anchors. The folder of the run's pages."""
        return f"run-{self.index}"

    @property
    def url(self) -> str:
        """The path or URL of the run directory."""
        return self.directory.url

    @property
    def name(self) -> str:
        """The last part of the run's path."""
        return self.url.rstrip("/").rpartition("/")[2] or self.url

    @cached_property
    def sweep(self) -> dict[str, Any]:
        """The content of sweep.json."""
        return self.directory.read_sweep() or {}

    @property
    def kind(self) -> str:
        """The kind of the sweep, as `analysis.sweep_kinds` lists them."""
        return str(self.sweep.get("sweep"))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the whole sweep, from sweep.json."""
        return dict(self.sweep.get("settings") or {})

    @property
    def class_names(self) -> list[str]:
        """The classes of the run's model, as its last invocation recorded them; may be empty."""
        invocations = self.sweep.get("invocations") or [{}]
        return list(invocations[-1].get("class_names", []))

    @property
    def warnings(self) -> list[str]:
        """What invocations said may be wrong with the whole run, such as labels that no prediction fits."""
        invocations = self.sweep.get("invocations") or []
        return list(dict.fromkeys(str(each) for entry in invocations for each in entry.get("warnings", [])))

    @cached_property
    def column_names(self) -> list[str]:
        """Names of the columns that `results` gives, read from one of the shards."""
        return result_files.column_names(self.directory)

    def results(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return every committed row, or these columns of it, as `analysis.load.results` describes."""
        return result_files.read_results(self.directory, columns)

    def portions(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield the rows of `results` in the same order, some at a time, so that memory stays bounded."""
        return result_files.read_portions(self.directory, columns)

    def images(self, keys: Iterable[str], rows: pd.DataFrame | None = None) -> list[NDArray[np.uint8]]:
        """Return the images `[H, W, C]` of these keys, as `analysis.load.images` describes."""
        keys = list(keys)
        return image_files.read_images(self.directory, keys, self._naming(rows), image_files.decode_png)

    def encoded_images(self, keys: Iterable[str], rows: pd.DataFrame | None = None) -> list[bytes]:
        """Return the stored PNG files of these keys, as `analysis.load.encoded_images` describes."""
        keys = list(keys)
        return image_files.read_images(self.directory, keys, self._naming(rows), lambda _, content: content)

    def _naming(self, rows: pd.DataFrame | None) -> pd.DataFrame:
        """Return the rows that name images; all of the run's unless some are given."""
        if rows is not None:
            return rows
        pairs = image_files.image_columns(self.column_names)
        return self.results([column for pair in pairs for column in pair])

    @cached_property
    def status(self) -> Status:
        """How far the run is. ValueError for a file of it that is no JSON."""
        try:
            with explained(self.url, "read"):
                return maintenance.status(self.directory)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"a file in {self.url}, in failures/ or progress.json, is no JSON: {error}"
            ) from error

    @cached_property
    def num_planned(self) -> int | None:
        """Shards of the whole plan; None where sweep.json does not say."""
        return planned_shards(self.sweep)

    @cached_property
    def num_planned_cells(self) -> int:
        """Cells of the whole plan: for generation, one image each."""
        return planned_cells(self.sweep)

    @property
    def finished(self) -> bool:
        """True if every shard of the plan is committed."""
        return self.status.succeeded

    @cached_property
    def failures(self) -> list[Failure]:
        """The quarantined shards."""
        return [failure(shard_id, record) for shard_id, record in sorted(self.status.failures.items())]

    @property
    def unusable_images(self) -> tuple[ImageFailure, ...]:
        """The images of the data set without rows, because they could not be used."""
        return self.status.unusable_images

    def missing(self) -> str:
        """Return a sentence that says what an unfinished run lacks; empty for a finished one."""
        if self.finished:
            return ""
        beside = missing_beside(self.sweep, self.status.beside)
        if beside and self.status.num_committed == self.num_planned:
            return beside
        missing = missing_shards(
            self.status.num_committed, self.num_planned, len(self.failures), len(self.unusable_images)
        )
        return f"{missing} {beside}".rstrip()


AnyRun = str | Path | Run


def open_run(url: str | Path) -> Run:
    """Open a run directory by its path or URL. Raises ValueError if there is none."""
    return Run(maintenance.open_run(str(url)))


def opened(run: AnyRun) -> Run:
    """Return the run itself if it is open, else open it."""
    return run if isinstance(run, Run) else open_run(run)


def open_sweep(run: AnyRun, *kinds: str) -> Run:
    """Open a run whose sweep is of one of these kinds. Raises ValueError for one of another kind."""
    sweep = opened(run)
    if sweep.kind not in kinds:
        kind, accepted = sweep.sweep.get("sweep"), ", ".join(map(repr, kinds))
        raise ValueError(f"{sweep.url} holds a sweep of kind {kind!r}: accepted: {accepted}")
    return sweep


def open_runs(urls: Sequence[str | Path]) -> list[Run]:
    """Open the runs of a report, by path or URL.

    Raises ValueError for one given twice, that is none, is empty or has an unknown schema.
    """
    runs = [Run(maintenance.open_run(str(url)), index) for index, url in enumerate(urls)]
    for run in runs:
        _refuse_unreadable(run)
    places = [run.url for run in runs]
    for place in places:
        if places.count(place) > 1:
            raise ValueError(f"run {place} is given {places.count(place)} times: give each run once")
    for run in runs:
        # A damaged file of the run's state stops a report before any work.
        _ = run.status
    return runs


def _refuse_unreadable(run: Run) -> None:
    found = run.sweep.get("schema_version", SCHEMA_VERSION)
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version of {run.url} is {found!r}: this release reads {SCHEMA_VERSION}; "
            "use the release that wrote the run"
        )
    # Reads one shard's footer: an empty run is refused here, before any work.
    _ = run.column_names
