"""sweep.json: the kinds of a sweep's axes stand in it, and directories of earlier versions gain them."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from sweeps.plan import Axes
from sweeps.record import merge, plan_of
from sweeps.schemas.axis_kinds import AXIS_KINDS, AxisKinds, axis_kinds

KINDS = AXIS_KINDS["modify"]


@dataclass(frozen=True)
class Modification:
    """What a modification sweep asks of its run directory."""

    images: tuple[int, ...] = (0, 1, 2)
    kinds: AxisKinds = KINDS
    name: str = "modify"
    settings: dict[str, Any] = field(default_factory=lambda: {"model": "a"})
    definitions: dict[str, str] = field(default_factory=dict)

    @property
    def requested(self) -> tuple[Axes, ...]:
        return ({"target": (3,), "image_index": self.images},)


def test_a_new_record_holds_the_kinds_of_the_axes():
    record = merge(None, Modification(), 2)
    assert record["axis_kinds"] == {"group": ["target"], "cells": ["image_index"], "whole": []}
    assert axis_kinds(record) == KINDS


def test_a_record_of_an_earlier_version_gains_them_and_keeps_its_shards():
    new = merge(None, Modification(), 2)
    old = {key: value for key, value in new.items() if key != "axis_kinds"}
    assert axis_kinds(old) == KINDS
    assert merge(old, Modification(), 2) == new
    shards = [shard.id for shard in plan_of(new, KINDS).shards()]
    grown = merge(old, Modification(images=(0, 1, 2, 3)), 2)
    assert [shard.id for shard in plan_of(grown, KINDS).shards()][: len(shards)] == shards


def test_a_sweep_with_other_kinds_is_refused():
    record = merge(None, Modification(), 2)
    other = AxisKinds(group=("target",), cells=("image_index",), whole=("epsilon",))
    with pytest.raises(ValueError, match="axis_kinds: the directory was made with"):
        merge(record, Modification(kinds=other), 2)
