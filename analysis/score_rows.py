"""Rows of scores/: scores of attributions that were asked for later, in the columns that results/ has for them.

So all scores of a run look alike, whether its first command named them or a later one.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from sweeps.schemas import SCORE_COLUMNS
from sweeps.store import RunDirectory

FOLDER = "scores"
# These tell the rows of results/ apart.
KEYS = ("checkpoint", "target", "method", "image_index")
NUM_READERS = 16


@dataclass(frozen=True)
class AddedScores:
    """The columns of scores that some rows of a run have beside results/."""

    directory: RunDirectory
    columns: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, directory: RunDirectory, wanted: Sequence[str] | None = None) -> "AddedScores":
        """Return those of a run directory, of the columns that are wanted; all of them if None."""
        record = directory.read_sweep() or {}
        if not record.get("beside", {}).get(FOLDER, {}).get("blocks"):
            return cls(directory)
        return cls(directory, tuple(each for each in SCORE_COLUMNS if wanted is None or each in wanted))

    def needed(self, wanted: Sequence[str] | None) -> list[str] | None:
        """Return the columns of results/ that are read for the wanted ones."""
        if wanted is None or not self.columns:
            return None if wanted is None else list(wanted)
        return list(dict.fromkeys([*wanted, *KEYS]))

    def beside(self, frame: pd.DataFrame, wanted: Sequence[str] | None = None) -> pd.DataFrame:
        """Return rows of results/ with the added scores, in the columns wanted; null where there is no row."""
        if self.columns and len(self._rows):
            found = _keys(frame).merge(self._rows, "left", list(KEYS), validate="m:1")
            frame = frame.copy()
            for column in self.columns:
                added = found[column].set_axis(frame.index)
                frame[column] = frame[column].fillna(added) if column in frame else added
        return frame if wanted is None else frame[list(wanted)]

    @cached_property
    def _rows(self) -> pd.DataFrame:
        """One row for each row of results/ that has scores here."""
        from analysis.result_files import read_rows  # which imports this module

        table = self.directory.beside(FOLDER)
        names = sorted(entry.name for entry in table.results())
        columns = [*KEYS, *self.columns]
        with ThreadPoolExecutor(NUM_READERS) as pool:
            frames = list(pool.map(lambda name: read_rows(table, name, columns).to_pandas(), names))
        if not frames:
            return pd.DataFrame(columns=columns)
        rows = pd.concat([_keys(each).join(each[list(self.columns)]) for each in frames], ignore_index=True)
        # Each score has rows of its own, which hold its columns alone.
        return rows.groupby(list(KEYS), sort=False, as_index=False).first()


def _keys(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what tells rows apart, as text in place of categories, which differ from file to file."""
    return pd.DataFrame({key: frame[key].astype(object).to_numpy() for key in KEYS}, index=frame.index)
