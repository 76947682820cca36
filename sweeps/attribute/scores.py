"""Scores of an attribution sweep (`--scores`): numbers by image and method that say how far a map can be trusted.

Scores that the first command names are columns of results/. Those that are named later have rows of their own in
scores/, since all files of results/ have the same columns. Their maps are computed again, by the same code from
the same random numbers, so the numbers are those that the first command would have written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from attrib_core.attribution import SCORES, score_named, scores_named
from sweeps.plan import Axes, Shard
from sweeps.ranges import parse_references
from sweeps.schemas.axis_kinds import AXIS_KINDS, AxisKinds
from sweeps.side_table import SideTable

NONE = "none"
SETTING = "first_scores"
FOLDER, AXIS = "scores", "score"
# What `all` means: boxes are there only where a user names them.
WITHOUT_BOXES = tuple(name for name, score in SCORES.items() if not score.needs_boxes)
DEFAULT = ("deletion", "insertion")
_OF_RESULTS = AXIS_KINDS["attribute"]
# The maps of an image are computed once for all scores that a command adds.
KINDS = AxisKinds(group=_OF_RESULTS.group, cells=_OF_RESULTS.cells, whole=(*_OF_RESULTS.whole, AXIS))


def parse_scores(text: str) -> tuple[str, ...]:
    """Return the scores of a list in their canonical text, `none` for none.

    Raises ValueError for a name or a setting that is not there, and for two scores that fill one column.
    """
    scores = () if text == NONE else parse_references("scores", text, WITHOUT_BOXES)
    scores_named(scores)
    return scores


def check_scores(scores: Sequence[str], image_shape: Sequence[int]) -> None:
    """Raise ValueError for a score whose settings do not fit images `[C, H, W]`."""
    for name in scores:
        try:
            score_named(name).check_images(*image_shape[1:])
        except ValueError as error:
            raise ValueError(f"scores={name!r}: {error}") from None


def definitions_of_scores(scores: Sequence[str]) -> dict[str, str]:
    """Return which settings shape the numbers of the scores that have any."""
    described = {f"score {name}": score_named(name).describe() for name in scores}
    return {name: text for name, text in described.items() if text}


@dataclass(frozen=True, kw_only=True)
class DirectoryScores:
    """The scores that a run directory has: columns of results/, and those that were added later."""

    columns: tuple[str, ...]
    added: tuple[str, ...]
    named: tuple[str, ...]  # by this command

    @classmethod
    def of(cls, record: Mapping[str, Any] | None, named: Sequence[str] | None) -> Self:
        """Return those of a sweep.json, with the ones that a command names; a new directory's are all columns.

        A command that names none (None) means all that the directory has. Raises ValueError for two scores that
        fill one column.
        """
        if record is None:
            columns = DEFAULT if named is None else tuple(named)
            return cls(columns=columns, added=(), named=columns)
        columns = tuple(record.get("settings", {}).get(SETTING, DEFAULT))
        blocks = record.get("beside", {}).get(FOLDER, {}).get("blocks", [])
        before = [name for block in blocks for name in block["axes"][AXIS]]
        added = tuple(dict.fromkeys(name for name in (*before, *(named or ())) if name not in columns))
        try:
            scores_named((*columns, *added))
        except ValueError as error:
            raise ValueError(
                f"{error}, or choose another --output: the run directory has the other"
            ) from None
        return cls(columns=columns, added=added, named=(*columns, *added) if named is None else tuple(named))

    @property
    def setting(self) -> dict[str, Any]:
        """What sweep.json records of the columns; nothing of the ones that every directory had before."""
        return {} if self.columns == DEFAULT else {SETTING: list(self.columns)}

    def side_table(self, products: Sequence[Axes]) -> SideTable:
        """Return the rows of scores/ that a command asks for, whose cells for results/ are `products`."""
        added = tuple(name for name in self.named if name in self.added)
        requested = tuple({**product, AXIS: added} for product in products) if added else ()
        return SideTable(folder=FOLDER, kinds=KINDS, requested=requested)

    def of_shard(self, shard: Shard) -> tuple[str, ...]:
        """Return the scores that a shard's maps get."""
        return shard.values(AXIS, str) if AXIS in shard.axes else self.columns


FIRST_SCORES = DirectoryScores(columns=DEFAULT, added=(), named=DEFAULT)
