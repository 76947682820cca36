"""Rows and tables of units: their order, the strongest images of all shards, ratios and purity by hand."""

import numpy as np
import pandas as pd
import pytest

from analysis.run import open_run
from analysis.units.natural import load_natural, open_natural
from analysis.units.rows import load_synthetic, unit_order
from analysis.units.shelves import three_digits
from analysis.units.summary import layer_table, unit_table


def test_units_are_in_the_order_of_numbers_and_layers_in_that_of_the_command(make_units_run) -> None:
    rows = load_synthetic(open_run(make_units_run(units=("10", "2", "10:center"), recipes=("slow", "fast"))))
    assert list(rows["layer"].unique()) == ["late", "early"]
    assert list(rows["unit"].unique()) == ["2", "10", "10:center"]
    assert list(rows["recipe"].unique()) == ["slow", "fast"]
    assert rows["seed"].tolist() == [0, 1] * 12
    assert unit_order(["b#k:10", "7:center", "b#k:9", "7"]) == ["7", "7:center", "b#k:9", "b#k:10"]


def test_the_strongest_images_are_those_of_all_shards_together(make_activations_run) -> None:
    run = open_run(make_activations_run(units=(("late", "2"),), activation=lambda index: float(index)))
    assert load_natural(run, 4)["image_index"].tolist() == [7, 6, 5, 3]
    assert load_natural(run, 9)["rank"].tolist() == [1, 2, 3, 4, 5, 6]


def test_of_equal_activations_the_image_with_the_smaller_index_comes_first(make_activations_run) -> None:
    rows = load_natural(open_run(make_activations_run(units=(("late", "2"),))), 4)
    assert rows[["image_index", "activation"]].to_numpy().tolist() == [[3, 4], [7, 4], [2, 3], [6, 3]]


def test_a_run_of_classes_has_them_as_units_of_the_logits(make_activations_run) -> None:
    rows = load_natural(open_run(make_activations_run(classes=(0, 1), has_places=False)), 2)
    assert rows[["layer", "unit"]].drop_duplicates().to_numpy().tolist() == [
        ["logits", "0 cat"],
        ["logits", "1 dog"],
    ]
    table = unit_table(None, rows)
    # Images 3 and 7, both dogs, are the strongest of either class.
    assert table["own_share"].tolist() == [0, 1]
    assert table["label_name"].tolist() == ["dog", "dog"]


def test_tables_are_as_computed_by_hand(make_units_run, make_activations_run) -> None:
    synthetic = load_synthetic(open_run(make_units_run(units=("2", "5"))))
    natural = load_natural(
        open_run(
            make_activations_run(units=(("late", "2"), ("early", "2")), label=lambda index: int(index == 7))
        ),
        3,
    )
    table = unit_table(synthetic, natural)
    assert table[["layer", "unit"]].to_numpy().tolist() == [
        ["late", "2"],
        ["late", "5"],
        ["early", "2"],
        ["early", "5"],
    ]
    first = table.iloc[0]
    # Pictures activate by 3 and 4; images 3, 7 and 2 by 4, 4 and 3, one of them a dog.
    assert (first["num_pictures"], first["activation"], first["activation_max"]) == (2, 3.5, 4)
    assert (first["num_natural"], first["natural_activation"], first["ratio"]) == (3, 4, 0.875)
    assert first["natural_mean"] == pytest.approx(11 / 3)
    assert (first["purity"], first["label_name"]) == (pytest.approx(2 / 3), "cat")
    assert table.iloc[1][["natural_activation", "purity", "ratio"]].isna().all()
    layers = layer_table(table)
    assert layers["layer"].tolist() == ["late", "early"]
    assert layers[["num_units", "num_pictures", "num_natural"]].to_numpy().tolist() == [[2, 4, 3]] * 2
    assert layers["ratio"].tolist() == [0.875] * 2


def test_a_strongest_image_that_does_not_activate_gives_no_ratio(
    make_units_run, make_activations_run
) -> None:
    natural = load_natural(open_run(make_activations_run(activation=lambda index: -1.0 - index)))
    table = unit_table(load_synthetic(open_run(make_units_run())), natural)
    assert table["ratio"].isna().all()
    assert (table["natural_activation"] == -1).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "other"}, "model is 'other', that of {units} is 'net'; accepted is a run of"),
        ({"digest": "d2"}, "model_digest is 'd2', that of {units} is 'd1'; accepted is a run of"),
        ({"units": (("last", "7"),)}, "it has 1 such as last:7, {units} has 6 such as early:10"),
        ({"classes": (0,)}, "it has 1 such as class 0, {units} has 6 such as early:10"),
    ],
)
def test_natural_images_of_something_else_are_refused(
    fields, message, make_units_run, make_activations_run
) -> None:
    units, natural = make_units_run(), make_activations_run(**fields)
    with pytest.raises(ValueError, match=r"accepted is a run of activations_all\.py") as refused:
        open_natural(str(natural), open_run(units))
    assert str(refused.value).startswith(f"natural={str(natural)!r}: {message.format(units=units)}")


def test_runs_of_another_kind_are_refused(make_units_run, make_activations_run, make_run) -> None:
    units, activations, generated = make_units_run(), make_activations_run(), make_run()
    with pytest.raises(ValueError, match="holds a sweep of kind 'generate': accepted: 'activations'"):
        open_natural(str(generated), open_run(units))
    with pytest.raises(ValueError, match="is of kind 'activations'; accepted are runs of generate_all"):
        open_natural(str(activations), open_run(activations))


@pytest.mark.parametrize(
    ("value", "text"),
    [(26.84, "26.8"), (18, "18.0"), (0.00418, "0.0042"), (-1234.5, "-1234"), (0, "0.00"), (np.nan, "nan")],
)
def test_activations_have_three_digits(value, text) -> None:
    assert three_digits(value) == text


def test_rows_without_images_keep_their_numbers(make_units_run) -> None:
    rows = load_synthetic(open_run(make_units_run()))
    pd.testing.assert_frame_equal(
        unit_table(rows.assign(image_key=None), None), unit_table(rows, None), check_like=True
    )
