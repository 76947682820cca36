"""Tables whose cells are coloured by a share. Unlike a picture they can be read aloud, searched and copied."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

NUM_LEVELS = 10


@dataclass(frozen=True, kw_only=True)
class HeatCell:
    """A cell: `level` from 0 to 10 chooses its colour, None leaves it without; `notes` are small lines below."""

    level: int | None
    text: str
    is_own: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The heading of a row or column; `more` completes a short `text` for those who listen."""

    text: str
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """A table of cells under headings."""

    corner: str
    columns: Sequence[Heading]
    rows: Sequence[tuple[Heading, Sequence[HeatCell]]]


def heatmap(
    shares: pd.DataFrame,
    texts: Callable[[int, int], str],
    *,
    corner: str,
    columns: Sequence[Heading],
    rows: Sequence[Heading],
    mark_own: bool = False,
    notes: Callable[[int, int], Sequence[str]] = lambda row, column: (),
) -> Heatmap:
    """Return a table of shares in [0, 1], with the text of each cell by row and column; NaN has no colour.

    `mark_own`: a cell whose row and column are the same class is framed. `notes`: small lines below the text.
    """
    held = shares.to_numpy(float, na_value=np.nan)
    own = np.equal.outer(shares.index.to_numpy(), shares.columns.to_numpy()) & mark_own
    return Heatmap(
        corner=corner,
        columns=columns,
        rows=[
            (
                name,
                [
                    _cell(held[row, column], texts(row, column), own[row, column], notes(row, column))
                    for column in range(held.shape[1])
                ],
            )
            for row, name in enumerate(rows)
        ],
    )


def _cell(share: float, text: str, own: bool, notes: Sequence[str]) -> HeatCell:
    if np.isnan(share):
        return HeatCell(level=None, text="\N{EN DASH}", is_own=bool(own))
    level = round(NUM_LEVELS * min(max(share, 0), 1))
    return HeatCell(level=level, text=text, is_own=bool(own), notes=notes)
