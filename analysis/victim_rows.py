"""Rows of victims/: what models that were added later answer, as columns beside those of results/.

So all victims of a run look alike, whether its first command named them or a later one: `victim_prediction.NAME`,
`victim_margin.NAME` and `victim_clean_prediction.NAME`.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sweeps.store import RunDirectory

FOLDER = "victims"
FACTS = ("victim_prediction", "victim_margin", "victim_clean_prediction")
# These tell the rows of results/ apart. Where a minimum was sought, an image has one row, whatever its epsilon.
KEYS = ("checkpoint", "method", "target", "image_index", "epsilon")
NUM_READERS = 16


def victim_names(sweep: Mapping[str, Any]) -> list[str]:
    """Return the victims of a sweep.json that were added after the first command, in that order."""
    blocks = sweep.get("beside", {}).get(FOLDER, {}).get("blocks", [])
    return list(dict.fromkeys(name for block in blocks for name in block["axes"]["victim"]))


@dataclass(frozen=True)
class AddedVictims:
    """The victims of a run that have rows of their own, and some of their columns."""

    directory: RunDirectory
    columns: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, directory: RunDirectory, wanted: Sequence[str] | None = None) -> "AddedVictims":
        """Return those of a run directory, with the columns that are wanted; all of them if None."""
        names = victim_names(directory.read_sweep() or {})
        columns = (f"{fact}.{name}" for name in names for fact in FACTS)
        return cls(directory, tuple(each for each in columns if wanted is None or each in wanted))

    def needed(self, wanted: Sequence[str] | None) -> list[str] | None:
        """Return the columns of results/ that are read for the wanted ones."""
        if wanted is None or not self.columns:
            return None if wanted is None else list(wanted)
        own = [column for column in wanted if column not in self.columns]
        return list(dict.fromkeys([*own, *KEYS]))

    def beside(self, frame: pd.DataFrame, wanted: Sequence[str] | None) -> pd.DataFrame:
        """Return rows of results/ with the victims' columns, in the order wanted; null where there is no row."""
        if not self.columns:
            return frame
        seeking = set(self._rows["method"][self._rows["seeks_minimum"]]) if len(self._rows) else set()
        keys = _keys(frame, seeking)
        parts = dict(iter(self._rows.groupby("victim"))) if len(self._rows) else {}
        found = {}
        for column in self.columns:
            fact, _, name = column.partition(".")
            if name in parts:
                values = _keys(parts[name], seeking).assign(found=parts[name][fact].to_numpy())
                found[column] = keys.merge(values, "left", list(KEYS), validate="m:1")["found"].to_numpy()
            else:
                found[column] = np.full(len(frame), np.nan)
        joined = pd.concat([frame, pd.DataFrame(found, index=frame.index)], axis=1)
        return joined if wanted is None else joined[list(wanted)]

    @cached_property
    def _rows(self) -> pd.DataFrame:
        from analysis.result_files import read_rows  # which imports this module

        table = self.directory.beside(FOLDER)
        names = sorted(entry.name for entry in table.results())
        facts = {column.partition(".")[0] for column in self.columns}
        columns = [*KEYS, "seeks_minimum", "victim", *sorted(facts)]
        with ThreadPoolExecutor(NUM_READERS) as pool:
            frames = list(pool.map(lambda name: read_rows(table, name, columns).to_pandas(), names))
        return pd.concat(map(_as_text, frames), ignore_index=True) if frames else pd.DataFrame()


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with text in place of categories, which differ from file to file."""
    return frame.astype(dict.fromkeys(frame.columns[frame.dtypes == "category"], object))


def _keys(frame: pd.DataFrame, seeking: Iterable[str]) -> pd.DataFrame:
    """Return what tells rows apart, in types that compare: nulls are -1."""
    epsilon = frame["epsilon"].astype(float).mask(frame["method"].isin(list(seeking)).to_numpy())
    return pd.DataFrame(
        {
            "checkpoint": frame["checkpoint"].astype(object).to_numpy(),
            "method": frame["method"].astype(object).to_numpy(),
            "target": frame["target"].astype(float).fillna(-1).to_numpy(),
            "image_index": frame["image_index"].to_numpy(),
            "epsilon": epsilon.fillna(-1).to_numpy(),
        }
    )
