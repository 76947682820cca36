"""What each axis of a sweep means to its shards: the contract between the plan and whoever counts its shards.

Axes come in three kinds. A shard has one value of each *group* axis; it holds `shard_size` points of the
product of the *cell* axes; and it holds all of a block's values of each *whole* axis (one gradient serves
every ε).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AxisKinds:
    """The axes of a sweep by kind; the order is the order of the work.

    `later` are group axes that a release has added, with the one value that all cells had before. Blocks and shard
    ids do not mention that value, so that run directories which are older keep their shards.
    """

    group: tuple[str, ...]
    cells: tuple[str, ...]
    whole: tuple[str, ...] = ()
    later: Mapping[str, str] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Return the value of `axis_kinds` in sweep.json."""
        return self._axes() | ({"later": dict(self.later)} if self.later else {})

    def continues(self, recorded: Mapping[str, Any]) -> bool:
        """Return True if the sweep can continue a directory with these kinds, which may lack the later axes.

        The value that a later axis had follows from settings, which are compared by themselves.
        """
        found = {kind: values for kind, values in recorded.items() if kind != "later"}
        before = self._axes() | {"group": [axis for axis in self.group if axis not in self.later]}
        return found in (self._axes(), before)

    def _axes(self) -> dict[str, Any]:
        return {"group": list(self.group), "cells": list(self.cells), "whole": list(self.whole)}


# Run directories of these sweeps may be older than the key `axis_kinds` of sweep.json. A sweep that is not in
# the table states its kinds in its script alone.
AXIS_KINDS: dict[str, AxisKinds] = {
    "attack": AxisKinds(group=("method", "checkpoint", "target"), cells=("image_index",), whole=("epsilon",)),
    "attribute": AxisKinds(
        group=("target", "checkpoint"),
        cells=("image_index",),
        whole=("method",),
        later={"checkpoint": "trained"},
    ),
    "attribute_training": AxisKinds(group=("trial",), cells=("segment",), whole=("method", "image_index")),
    "generate": AxisKinds(group=("recipe",), cells=("seed", "class_index")),
    "modify": AxisKinds(group=("target",), cells=("image_index",)),
    # A shard is a chunk of the classes under one recipe; which classes a chunk holds follows from the settings.
    "tune_recipe": AxisKinds(group=("recipe",), cells=("chunk",)),
}


def axis_kinds(record: Mapping[str, Any]) -> AxisKinds | None:
    """Return the axis kinds of a sweep.json, from the table where the record lacks them.

    None for a record without them of a sweep that the table does not know.
    """
    recorded = record.get("axis_kinds")
    if recorded is None:
        return AXIS_KINDS.get(str(record.get("sweep")))
    return kinds_of_record(recorded)


def kinds_of_record(recorded: Mapping[str, Any]) -> AxisKinds:
    """Return the kinds that `as_record` has written."""
    return AxisKinds(
        group=tuple(recorded["group"]),
        cells=tuple(recorded["cells"]),
        whole=tuple(recorded["whole"]),
        later=recorded.get("later", {}),
    )


# These axes count work that spans several rows, or name two columns at once: `LAYER:UNIT`. Every other axis is a
# column of the rows.
_COLUMNS_OF_AXIS = {
    "segment": ("step",),
    "chunk": ("class_index", "seed"),
    "unit_of_layer": ("layer", "unit"),
}


def identity_columns(kinds: AxisKinds) -> tuple[str, ...]:
    """Return the columns that tell the rows of a sweep apart: no two rows of a run directory agree in all of
    them.
    """
    axes = (*kinds.group, *kinds.cells, *kinds.whole)
    return tuple(column for axis in axes for column in _COLUMNS_OF_AXIS.get(axis, (axis,)))


IDENTITY = {sweep: identity_columns(kinds) for sweep, kinds in AXIS_KINDS.items()}

# Axes that some results files are too old to have as columns, with the value that their rows have.
LATER_AXES = {sweep: kinds.later for sweep, kinds in AXIS_KINDS.items() if kinds.later}
