"""What a report shows of each attack in detail: the confusion and some stored images, read in one pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.attacks import confusion
from analysis.attacks.points import AttackPoint, point_numbers
from analysis.attacks.rows import Sums, row_portions
from analysis.attacks.stored_images import COLUMNS, Examples
from analysis.run import Run


@dataclass(frozen=True, kw_only=True)
class DetailRows:
    """The confusion at a point, empty for a minimum method, and the rows of the example images."""

    point: AttackPoint
    confusion: pd.DataFrame
    examples: pd.DataFrame


def read_details(run: Run, points: Sequence[AttackPoint]) -> list[DetailRows]:
    """Read the details of each point."""
    return details_of(row_portions(run, COLUMNS), points)


def details_of(portions: Iterable[pd.DataFrame], points: Sequence[AttackPoint]) -> list[DetailRows]:
    """Return the details of each point from the rows of a run, portion by portion."""
    counts, examples = Sums(confusion.BY), Examples(points)
    for portion in portions:
        at_points = portion[point_numbers(portion, points) >= 0]
        counts.add(confusion.confusion_counts(at_points))
        examples.add(at_points)
    table = confusion.confusion_table(counts.total())
    return [
        DetailRows(point=point, confusion=_at(table, point), examples=rows)
        for point, rows in zip(points, examples.chosen(), strict=True)
    ]


def _at(table: pd.DataFrame, point: AttackPoint) -> pd.DataFrame:
    """Return the confusion at a point; none for a minimum method, whose images have an ε each."""
    same = (table["checkpoint"] == point.checkpoint) & (table["attack"] == point.attack)
    return table[same & (table["epsilon"] == (float("nan") if point.epsilon is None else point.epsilon))]
