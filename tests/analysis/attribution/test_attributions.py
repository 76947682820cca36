"""The loader of attributions: the right values beside the right rows, and no more of them than asked for."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis.attribution import attributions as loader
from analysis.attribution.attributions import (
    attribution_portions,
    attribution_rows,
    attribution_values,
    attributions,
    method_names,
)

MakeRun = Callable[..., Path]


def counted(method: str, index: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Values that name their row, and rise from pixel to pixel."""
    return (
        (1 + index + 100 * (method == "occlusion")) * np.linspace(-1, 1, np.prod(shape)).reshape(shape) * 1e-9
    )


def test_values_are_scaled_and_have_the_shape_of_the_metadata(make_attribute_run: MakeRun) -> None:
    shape = (3, 4, 5)
    rows, values = attributions(make_attribute_run(values=counted, shape=shape))
    assert values.shape == (12, *shape)
    assert values.dtype == np.float32
    assert "attribution" not in rows
    for row, value in zip(rows.itertuples(), values, strict=True):
        expected = counted(row.method, row.image_index, shape)
        assert np.allclose(value, expected, rtol=1e-3, atol=1e-12)


def test_methods_and_images_are_chosen(make_attribute_run: MakeRun) -> None:
    rows, values = attributions(make_attribute_run(values=counted), methods=["occlusion"], images=[5, 1])
    assert rows[["method", "image_index"]].to_numpy().tolist() == [["occlusion", 1], ["occlusion", 5]]
    assert np.allclose(values.max((1, 2, 3)), [102e-9, 106e-9])


def test_steps_and_trials_are_chosen_along_training(make_training_run: MakeRun) -> None:
    run = make_training_run(
        trials=("a", "b"),
        values=lambda trial, method, step, index, shape: np.full(shape, step + 100 * (trial == "b")),
    )
    rows, values = attributions(run, methods=["loss_gradient"], steps=[3, 7], trials=["b"], images=[5])
    assert rows["step"].tolist() == [7, 3]  # in the order of the shards' names
    assert values[:, 0, 0, 0].tolist() == [107, 103]


@pytest.mark.parametrize("batch_size", [3, 1000])
def test_values_follow_the_rows_in_any_order(
    make_attribute_run: MakeRun, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    run = make_attribute_run(values=counted)
    monkeypatch.setattr(loader, "_BATCH_BYTES", 8 * 64 * batch_size)
    rows = attribution_rows(run).sample(frac=1, random_state=0)
    values = attribution_values(run, rows)
    expected = 1 + rows["image_index"] + 100 * (rows["method"] == "occlusion")
    assert np.allclose(values.max((1, 2, 3)), expected * 1e-9)


def test_many_rows_come_in_portions_that_are_all_rows(
    make_attribute_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_attribute_run(images=range(40), shard_size=20, values=counted)
    monkeypatch.setattr(loader, "_BATCH_BYTES", 8 * 64 * 7)
    rows = attribution_rows(run, methods=["occlusion"])
    portions = list(attribution_portions(run, rows))
    assert max(len(part) for part, _ in portions) <= 7
    assert [index for part, _ in portions for index in part["image_index"]] == list(range(40))
    for part, values in portions:
        assert np.allclose(values.max((1, 2, 3)), (101 + part["image_index"]) * 1e-9)


def test_reading_a_few_rows_does_not_read_all(
    make_attribute_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (1, 64, 64)
    run = make_attribute_run(
        images=range(200), shard_size=200, shape=shape, methods=("gradient",), values=counted
    )
    whole = 200 * 64 * 64 * 2
    monkeypatch.setattr(loader, "_BATCH_BYTES", 1 << 20)
    tracemalloc.start()
    _, values = attributions(run, images=[3])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values.shape == (1, *shape)
    assert peak < whole / 2


def test_a_method_of_several_targets_is_told_by_them(make_attribute_run: MakeRun) -> None:
    make_attribute_run(methods=("gradient",), targets=("predicted", "label"))
    run = make_attribute_run(methods=("occlusion",))
    assert set(method_names(attribution_rows(run))) == {
        "gradient (label)",
        "gradient (predicted)",
        "occlusion",
    }


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"methods": ["lime"]}, "method is 'lime': choose from gradient, occlusion"),
        ({"images": [77]}, r"image_index is 77: choose from 0, 1, 2 … 39 \(40 in all\)"),
        ({"steps": [1]}, "only 'attribute_training' has steps and trials"),
    ],
)
def test_what_a_run_lacks_is_named_with_what_it_has(
    make_attribute_run: MakeRun, chosen: dict, message: str
) -> None:
    run = make_attribute_run(images=range(40))
    with pytest.raises(ValueError, match=message):
        attributions(run, **chosen)


def test_another_sweep_and_an_empty_run_are_refused(make_run: MakeRun, make_attribute_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="kind 'generate': accepted: 'attribute', 'attribute_training'"):
        attributions(make_run())
    with pytest.raises(ValueError, match="is empty"):
        attributions(make_attribute_run("empty", images=()))


def test_a_broken_file_and_one_without_a_shape_are_named(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(shard_size=6)
    (file,) = (run / "results").iterdir()
    table = pq.read_table(file)
    bare = table.schema.field("attribution").remove_metadata()
    index = table.schema.get_field_index("attribution")
    pq.write_table(table.cast(table.schema.set(index, bare)), file)
    with pytest.raises(ValueError, match=f"{file.name}.* has no shape in its metadata"):
        attributions(run)
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=file.name):
        attributions(run)
