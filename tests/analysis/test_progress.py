"""The shards and cells of a run's plan, from its sweep.json alone."""

import importlib
from typing import Any

import pytest

from analysis.progress import num_values, planned_cells, planned_shards
from sweeps.record import plan_of

RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "generate": ("generate_all", {"recipe": ["a", "b"], "seed": "0-2", "class_index": "0-9,20"}),
    "attack": (
        "attack_all",
        {
            "method": ["fgsm"],
            "checkpoint": ["x", "y"],
            "target": ["none"],
            "image_index": "0-99",
            "epsilon": [0, 1],
        },
    ),
    "attribute": (
        "attribute_all",
        {"target": ["predicted"], "image_index": "0-99", "method": ["a", "b", "c"]},
    ),
    "attribute_training": (
        "attribute_training",
        {"trial": ["t"], "segment": "0-14", "method": ["a", "b"], "image_index": "0-15"},
    ),
    "modify": ("modify_all", {"target": "0-9", "image_index": "0-99"}),
    "tune_recipe": ("tune_recipe", {"recipe": ["a", "b", "c"], "chunk": "0-3"}),
}


@pytest.mark.parametrize("sweep", RECORDS)
def test_planned_shards_and_cells_are_those_of_the_sweeps_own_plan(sweep: str) -> None:
    module, axes = RECORDS[sweep]
    blocks = [{"axes": axes, "shard_size": size} for size in (1, 16, 1000)]
    record = {"sweep": sweep, "fingerprint": "f", "blocks": blocks}
    plan = plan_of(record, importlib.import_module(f"sweeps.{module}").KINDS)
    assert planned_shards(record) == plan.num_shards() == len(list(plan.shards()))
    assert planned_cells(record) == plan.num_cells()


def test_a_plan_that_is_not_there_or_not_known_is_none() -> None:
    assert planned_shards({"sweep": "generate"}) is None
    assert planned_shards({"sweep": "distill", "blocks": [{"axes": {}, "shard_size": 1}]}) is None


def test_values_of_an_axis_are_counted_in_lists_and_ranges() -> None:
    assert num_values("0-31,291") == 33
    assert num_values(["fgsm", "0-31"]) == 2
