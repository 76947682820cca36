"""sweep.json: the kinds of a sweep's axes stand in it, and directories of earlier versions gain them."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from sweeps.cli import SweepOptions
from sweeps.plan import Axes
from sweeps.record import merge, plan_of, unrecorded_images
from sweeps.schemas.axis_kinds import AXIS_KINDS, AxisKinds, axis_kinds
from sweeps.store import RunDirectory
from sweeps.sweep import chosen_batch_size

KINDS = AXIS_KINDS["modify"]


@dataclass(frozen=True)
class Modification:
    """What a modification sweep asks of its run directory."""

    images: tuple[int, ...] = (0, 1, 2)
    kinds: AxisKinds = KINDS
    name: str = "modify"
    settings: dict[str, Any] = field(default_factory=lambda: {"model": "a"})
    definitions: dict[str, str] = field(default_factory=dict)
    batch_size: int | None = None

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


def test_images_that_are_resized_otherwise_are_refused_and_unrecorded_ones_named():
    """As another version of timm, or of this project, may state it."""
    name, words = "images of resnet18", "224 of 256, center, bilinear, mean 0.5, std 0.5"
    resized = Modification(definitions={"weights": "0", name: words})
    old = merge(None, Modification(definitions={"weights": "0"}), 2)
    assert unrecorded_images(old, resized.definitions) == [name]
    assert unrecorded_images(None, resized.definitions) == []
    new = merge(old, resized, 2)
    assert unrecorded_images(new, resized.definitions) == []
    with pytest.raises(
        ValueError, match=f"{name}: its definition has changed since .* \\({words}, now 224 of 248"
    ):
        merge(new, Modification(definitions={name: words.replace("256", "248")}), 2)


def test_a_later_axis_may_have_other_values_only_where_all_rows_have_its_column():
    kinds = AxisKinds(group=("target", "net"), cells=("image_index",), later={"net": "a"})
    before = merge(None, Modification(), 2)  # as a release without the axis wrote it

    @dataclass(frozen=True)
    class Later(Modification):
        nets: tuple[str, ...] = ("a",)

        @property
        def requested(self) -> tuple[Axes, ...]:
            return ({"target": (3,), "net": self.nets, "image_index": self.images},)

    grown = merge(before, Later(kinds=kinds, images=(0, 1, 2, 3)), 2)
    ids = [shard.id for shard in plan_of(before, KINDS).shards()]
    assert [shard.id for shard in plan_of(grown, kinds).shards()][: len(ids)] == ids
    assert grown["blocks"][0] == before["blocks"][0]
    for record in (before, grown):
        with pytest.raises(ValueError, match="net: rows of the directory are older than this column"):
            merge(record, Later(kinds=kinds, nets=("a", "b")), 2)
    new = merge(None, Later(kinds=kinds), 2)
    assert "b" in merge(new, Later(kinds=kinds, nets=("a", "b")), 2)["blocks"][1]["axes"]["net"]


def test_a_sweep_with_other_kinds_is_refused():
    record = merge(None, Modification(), 2)
    other = AxisKinds(group=("target",), cells=("image_index",), whole=("epsilon",))
    with pytest.raises(ValueError, match="axis_kinds: the directory was made with"):
        merge(record, Modification(kinds=other), 2)


def test_a_batch_size_that_was_given_is_recorded_and_the_last_one_counts():
    record = merge(None, Modification(), 2)
    assert "batch_size" not in record
    assert merge(record, Modification(batch_size=8), 2)["batch_size"] == 8
    assert merge(record | {"batch_size": 8}, Modification(), 2)["batch_size"] == 8
    assert merge(record | {"batch_size": 8}, Modification(batch_size=4), 2)["batch_size"] == 4


def test_a_command_without_a_batch_size_uses_the_recorded_one(tmp_path):
    run = RunDirectory(tmp_path / "run")
    given = {"output": str(run.url)}
    assert chosen_batch_size(SweepOptions(**given)) is None
    run.update_sweep(lambda _: {"batch_size": 8})
    assert chosen_batch_size(SweepOptions(**given)) == 8
    assert chosen_batch_size(SweepOptions(**given, batch_size=4)) == 4
