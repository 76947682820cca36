"""A plan covers each cell once, grows without repeating, and names shards by their content."""

import itertools
import random
import tracemalloc

import pytest

from sweeps.plan import Block, Plan, fingerprint, subtract
from sweeps.schemas.axis_kinds import AXIS_KINDS, AxisKinds, axis_kinds

KINDS = AxisKinds(group=("recipe",), cells=("seed", "class_index"))


def axes(recipes, seeds, classes):
    return {"recipe": tuple(recipes), "seed": tuple(seeds), "class_index": tuple(classes)}


def empty_plan(kinds=KINDS):
    return Plan(fingerprint=fingerprint({"model": "m"}), kinds=kinds)


def cells_of(plan, requested=None):
    return [(shard.axes["recipe"], *cell) for shard in plan.shards(requested) for cell in shard.cells]


def test_every_cell_is_planned_once() -> None:
    plan = empty_plan().grow(axes(["plain", "blur"], range(3), range(10)), shard_size=4)
    cells = cells_of(plan)
    assert len(cells) == len(set(cells)) == plan.num_cells() == 60
    assert set(cells) == set(itertools.product(["plain", "blur"], range(3), range(10)))


def test_a_shard_mixes_seeds_and_classes_but_not_recipes() -> None:
    plan = empty_plan().grow(axes(["plain", "blur"], range(4), [7]), shard_size=4)
    shards = list(plan.shards())
    assert [shard.axes["recipe"] for shard in shards] == ["plain", "blur"]
    assert shards[0].cells == ((0, 7), (1, 7), (2, 7), (3, 7))


def test_the_number_of_shards_is_known_without_making_them() -> None:
    plan = empty_plan().grow(axes(["plain", "blur"], range(3), range(10)), shard_size=4)
    assert plan.num_shards() == len(list(plan.shards())) == 16


def test_growth_adds_only_new_cells_and_keeps_old_shards() -> None:
    before = empty_plan().grow(axes(["plain"], [0], range(10)), shard_size=4)
    after = before.grow(axes(["plain", "blur"], [0, 1], range(5, 15)), shard_size=4)
    old_ids = [shard.id for shard in before.shards()]
    assert [shard.id for shard in after.shards()][: len(old_ids)] == old_ids
    cells = cells_of(after)
    wanted = {("plain", 0, c) for c in range(10)} | set(
        itertools.product(["plain", "blur"], [0, 1], range(5, 15))
    )
    assert len(cells) == len(set(cells))
    assert set(cells) == wanted


def test_asking_for_the_same_again_adds_nothing() -> None:
    plan = empty_plan().grow(axes(["plain"], [0], range(10)), shard_size=4)
    assert plan.grow(axes(["plain"], [0], range(3, 7)), shard_size=2) == plan


def test_repeated_random_growth_always_equals_the_union() -> None:
    chance = random.Random(0)
    for _ in range(50):
        plan, wanted = empty_plan(), set()
        for _ in range(4):
            asked = axes(
                chance.sample(["a", "b", "c"], chance.randint(1, 3)),
                chance.sample(range(4), chance.randint(1, 4)),
                chance.sample(range(8), chance.randint(1, 8)),
            )
            plan = plan.grow(asked, shard_size=chance.randint(1, 5))
            wanted |= set(itertools.product(*asked.values()))
        cells = cells_of(plan)
        assert len(cells) == len(set(cells))
        assert set(cells) == wanted
        assert plan.num_cells() == len(wanted)


def test_a_whole_axis_stays_together_in_every_shard_and_grows_apart() -> None:
    kinds = AxisKinds(group=("checkpoint",), cells=("image_index",), whole=("epsilon",))
    plan = empty_plan(kinds).grow({"checkpoint": ("t",), "image_index": (0, 1, 2), "epsilon": (0.0, 0.1)}, 2)
    assert [shard.axes["epsilon"] for shard in plan.shards()] == [(0.0, 0.1), (0.0, 0.1)]
    grown = plan.grow({"checkpoint": ("t",), "image_index": (0, 1, 2), "epsilon": (0.0, 0.1, 0.2)}, 2)
    assert [shard.axes["epsilon"] for shard in grown.shards()][2:] == [(0.2,), (0.2,)]


def test_a_request_selects_the_shards_that_hold_its_cells() -> None:
    plan = empty_plan().grow(axes(["plain", "blur"], [0, 1], range(10)), shard_size=5)
    requested = [axes(["blur"], [1], [0, 9])]
    shards = list(plan.shards(requested))
    assert {shard.axes["recipe"] for shard in shards} == {"blur"}
    assert {cell[0] for shard in shards for cell in shard.cells} == {1}
    assert len(shards) == plan.num_shards(requested) == 2


def test_methods_that_find_their_own_epsilon_have_a_product_of_their_own() -> None:
    kinds = AxisKinds(group=("method",), cells=("image_index",), whole=("epsilon",))
    on_grid = {"method": ("fgsm",), "image_index": (0, 1, 2), "epsilon": (0.0, 0.1)}
    seeking = {"method": ("minimum_fgsm",), "image_index": (0, 1, 2), "epsilon": ("minimum",)}
    plan = empty_plan(kinds).grow(on_grid, 2).grow(seeking, 2)
    grown = plan.grow({**on_grid, "epsilon": (0.0, 0.1, 0.2)}, 2).grow(seeking, 2)
    assert [shard.axes["epsilon"] for shard in grown.shards()][4:] == [(0.2,), (0.2,)]
    assert plan.num_shards([on_grid, seeking]) == len(list(plan.shards([on_grid, seeking]))) == 4
    assert {shard.axes["method"] for shard in grown.shards([seeking])} == {"minimum_fgsm"}
    few = [{**on_grid, "image_index": (2,)}, {**seeking, "image_index": (0,)}]
    assert grown.num_shards(few) == 2


def test_ids_are_readable_unique_and_follow_content_and_settings_alone() -> None:
    plan = empty_plan().grow(axes(["plain"], [0], range(100)), shard_size=7)
    ids = [shard.id for shard in plan.shards()]
    assert len(set(ids)) == len(ids)
    assert ids[0].startswith("plain-seed0-class0_6-")
    assert ids == [shard.id for shard in empty_plan().grow(axes(["plain"], [0], range(100)), 7).shards()]
    other = Plan(fingerprint=fingerprint({"model": "n"}), kinds=KINDS).grow(
        axes(["plain"], [0], range(100)), 7
    )
    assert not set(ids) & {shard.id for shard in other.shards()}


@pytest.mark.parametrize("name", ["../../etc", "a/b", "torchvision:resnet 18", "ä" * 300])
def test_hostile_axis_values_make_safe_ids(name: str) -> None:
    [shard] = empty_plan().grow(axes([name], [0], [0]), 1).shards()
    assert "/" not in shard.id
    assert shard.id[0] not in "._"
    assert ":" not in shard.id
    assert len(shard.id) < 120


def test_a_million_shards_are_planned_lazily() -> None:
    tracemalloc.start()
    try:
        plan = empty_plan().grow(axes(["plain"], range(1000), range(1000)), shard_size=1)
        assert plan.num_shards() == 1_000_000
        for _shard in itertools.islice(plan.shards(), 20_000):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_subtracting_a_box_from_itself_leaves_nothing() -> None:
    box = axes(["plain"], [0, 1], [2, 3])
    assert subtract(box, box) == []
    assert subtract(box, axes(["blur"], [0], [2])) == [box]


def test_blocks_count_their_cells() -> None:
    assert Block(axes(["a", "b"], [0, 1, 2], range(5)), 4).num_cells() == 30


def test_a_record_says_the_kinds_of_its_axes():
    record = {"sweep": "mine", "axis_kinds": {"group": ["a"], "cells": ["b", "c"], "whole": []}}
    assert axis_kinds(record) == AxisKinds(group=("a",), cells=("b", "c"))


@pytest.mark.parametrize("sweep", AXIS_KINDS)
def test_records_of_earlier_versions_have_the_kinds_of_the_table(sweep):
    kinds = AXIS_KINDS[sweep]
    assert axis_kinds({"sweep": sweep}) == kinds
    assert axis_kinds({"sweep": sweep, "axis_kinds": kinds.as_record()}) == kinds


def test_a_record_of_an_unknown_sweep_has_none():
    assert axis_kinds({"sweep": "mine"}) is None
