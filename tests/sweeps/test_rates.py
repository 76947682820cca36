"""Rates that trackers are told, added up shard by shard, are those of `analysis` on all rows at once."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.attacks.success_rates import success_rate
from analysis.generation.judge_accuracy import judge_accuracy
from sweeps.schemas import attack_results, attribute_results, generate_results, training_results
from sweeps.schemas.rates import Means, Point, columns_of, rates_of, training_points

random = np.random.default_rng(0)


def means_of(sweep: str, shards: list[pa.Table]) -> dict[str, float]:
    means = Means()
    for rows in shards:
        means.add(rows, rates_of(sweep, rows.schema))
    return means.values()


def attack_rows(count: int, *, target: int | None = None, checkpoint: str = "trained") -> pa.Table:
    """Rows of two methods at two ε, and of one that seeks its own, as chance will have them."""
    methods = ["fgsm", "pgd:num_steps=4", "minimum_fgsm"] * count
    epsilons = [[0.1, 1 / 255][index % 2] for index in range(len(methods))]
    labels, predictions = random.integers(0, 4, (2, len(methods)), dtype=np.int32)
    columns = {
        "checkpoint": [checkpoint] * len(methods),
        "method": methods,
        "epsilon": epsilons,
        "target": pa.array([target] * len(methods), pa.int32()),
        "label": labels,
        "adversarial_prediction": predictions,
        "seeks_minimum": [method.startswith("minimum") for method in methods],
        "clean_prediction": labels,
        "prediction_u8": predictions,
        "zero_gradient": [False] * len(methods),
    }
    return pa.table(columns)


def test_success_rates_are_those_of_the_analysis() -> None:
    shards = [attack_rows(20), attack_rows(7), attack_rows(20, checkpoint="untrained")]
    frame = pa.concat_tables(shards).to_pandas()
    by = ["checkpoint", "method", "epsilon"]
    folder = {"trained": "success_rate", "untrained": "success_rate/untrained"}
    expected = {
        f"{folder[row.checkpoint]}/{row.method}/{row.epsilon:.9g}": row.rate
        for row in success_rate(frame, by).itertuples()
    }
    trained = frame[frame.checkpoint == "trained"]
    by_method = success_rate(trained[trained.seeks_minimum], ["method"])
    found = means_of("attack", shards)
    assert len(expected) == 8
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["minimum_found/minimum_fgsm"] == pytest.approx(by_method["rate"].item())
    assert not [name for name in found if name.startswith("targeted")]


def test_targeted_success_leaves_out_images_of_the_target() -> None:
    shards = [attack_rows(30, target=2), attack_rows(30)]
    expected = success_rate(shards[0].to_pandas())
    found = means_of("attack", shards)
    for row in expected.itertuples():
        assert found[f"targeted_success_rate/{row.method}/{row.epsilon:.9g}"] == pytest.approx(row.rate)
    untargeted = success_rate(shards[1].to_pandas())
    for row in untargeted.itertuples():
        assert found[f"success_rate/{row.method}/{row.epsilon:.9g}"] == pytest.approx(row.rate)


def generate_rows(count: int) -> pa.Table:
    top1 = random.integers(0, 3, (3, count), dtype=np.int32)
    judges = pa.StructArray.from_arrays([pa.array(top1[0]), pa.array(top1[1])], ["judge", "lite0"])
    return pa.table(
        {
            "model": ["lite0"] * count,
            "recipe": ["plain", "blur"] * (count // 2),
            "class_index": random.integers(0, 3, count, dtype=np.int32),
            "probability": random.random(count).astype(np.float32),
            "judge_top1": judges,
            "top1": top1[2],
        }
    )


def test_a_judge_that_is_the_model_itself_counts_nowhere() -> None:
    shards = [generate_rows(20), generate_rows(30)]
    found = means_of("generate", shards)
    frame = pa.concat_tables(shards).to_pandas()
    judges = pd.json_normalize(frame.pop("judge_top1").tolist()).add_prefix("judge_top1.")
    table = judge_accuracy(frame.join(judges))
    table = table[table.is_judge]
    expected = {f"judge_top1/{row.judge}/{row.recipe}": row.rate for row in table.itertuples()}
    expected |= {
        f"probability/{name}": value for name, value in frame.groupby("recipe").probability.mean().items()
    }
    assert found == pytest.approx(expected, rel=1e-6)
    assert len(found) == 4


def test_scores_that_are_not_defined_do_not_count() -> None:
    rows = pa.table(
        {
            "checkpoint": ["trained", "trained", "trained", "randomized:1"],
            "target": ["predicted", "predicted", "predicted", "loss"],
            "method": ["gradient"] * 4,
            "deletion_score": pa.array([0.25, None, 0.75, math.nan], pa.float32()),
            "insertion_score": pa.array([None, None, None, 0.5], pa.float32()),
        }
    )
    expected = {"deletion_score/gradient": 0.5, "insertion_score/randomized:1/loss/gradient": 0.5}
    assert means_of("attribute", [rows]) == expected


def test_modified_images_count_where_the_target_was_reached() -> None:
    rows = pa.table({"first_hit_step": pa.array([0, 3, None, None], pa.int32())})
    assert means_of("modify", [rows, rows]) == {"target_reached": 0.5}


def test_a_segment_of_a_training_is_a_point_of_loss_and_one_of_accuracy() -> None:
    states = [(0, None), (1, 2.0), (2, 1.0)]
    rows: list[dict[str, Any]] = [
        {
            "trial": "a",
            "step": step,
            "training_loss": loss,
            "prediction": image * step % 2,
            "label": image % 2,
        }
        for step, loss in states
        for image in range(4)
    ]
    rows += [row | {"trial": "b", "training_loss": None} for row in rows]
    points = list(training_points(pa.Table.from_pylist(rows)))
    assert points == [
        Point("training_loss/a", 2, 1.5),
        Point("panel_accuracy/a", 2, 0.5),
        Point("panel_accuracy/b", 2, 0.5),
    ]


@pytest.mark.parametrize(
    ("sweep", "schema", "left_out"),
    [
        ("attack", attack_results(), "image_key"),
        ("generate", generate_results(["judge"]), "logit_by_step"),
        ("attribute", attribute_results((1, 2, 2)), "attribution"),
        ("attribute_training", training_results((1, 2, 2)), "attribution"),
    ],
)
def test_only_the_few_columns_that_are_needed_are_read(sweep, schema, left_out) -> None:
    columns = columns_of(sweep, schema)
    assert set(columns) < set(schema.names)
    assert 0 < len(columns) < 9
    assert left_out not in columns


def test_a_sweep_without_rates_and_rows_of_an_older_release_have_none() -> None:
    assert rates_of("activations", attack_results()) == []
    older = pa.schema([field for field in attack_results() if field.name != "seeks_minimum"])
    assert rates_of("attack", older) == []
