"""The space of a recipe search: in its ranges, at one cost, the same samples for the same seed."""

import dataclasses

import pytest

from attrib_core.generation import PyramidSettings, pyramid_recipe
from attrib_core.generation.recipes import DEFAULT, FAST
from sweeps.tune.space import DEFAULT_PARAMETERS, RANGES, Range, at_cost, pixel_steps, sample_configurations
from sweeps.tune_recipe import shuffled_chunks

ALL = tuple(RANGES)


def test_every_setting_but_the_number_of_steps_can_be_searched() -> None:
    fields = {field.name for field in dataclasses.fields(PyramidSettings)}
    assert set(RANGES) == fields - {"num_steps", "num_candidates", "num_sketches"}
    assert set(DEFAULT_PARAMETERS) <= set(RANGES)


def test_the_default_lies_in_every_range() -> None:
    for name, where in RANGES.items():
        assert where.low <= getattr(DEFAULT, name) <= where.high, name


def test_a_range_is_covered_evenly_on_its_scale() -> None:
    assert [Range(1, 3).at(share) for share in (0, 0.5, 1)] == [1, 2, 3]
    assert [Range(0.01, 1, "log").at(share) for share in (0, 0.5, 1)] == [0.01, 0.1, 1]
    assert [Range(4, 6, "integer").at(share) for share in (0, 0.34, 0.67, 0.999)] == [4, 5, 6, 6]


def test_the_cost_of_a_recipe_is_the_pixels_that_the_network_sees() -> None:
    settings = PyramidSettings(
        num_steps=10,
        sketch_share=0.3,
        sketch_size=0.25,
        num_sketches=3,
        coarse_share=0.8,
        coarse_size=0.5,
        fine_size=1.0,
    )
    once = 3 * 3 * 56**2 + 5 * 112**2 + 2 * 224**2
    assert pixel_steps(pyramid_recipe(settings), 224) == once
    assert pixel_steps(pyramid_recipe(dataclasses.replace(settings, num_candidates=2)), 224) == 2 * once


@pytest.mark.parametrize("base", [DEFAULT, FAST, PyramidSettings(coarse_share=0.5)])
@pytest.mark.parametrize("image_size", [64, 224])
def test_every_configuration_costs_what_the_base_costs_to_one_step(
    base: PyramidSettings, image_size: int
) -> None:
    cost = pixel_steps(pyramid_recipe(base), image_size)
    for settings in sample_configurations(base, ALL, 50, seed=1, image_size=image_size):
        one_more = dataclasses.replace(settings, num_steps=settings.num_steps + 1)
        assert pixel_steps(pyramid_recipe(settings), image_size) <= cost
        assert pixel_steps(pyramid_recipe(one_more), image_size) > cost


def test_views_of_half_the_side_buy_four_times_the_steps() -> None:
    full = PyramidSettings(num_steps=32, sketch_share=0.0, coarse_share=0.0, fine_size=1.0, num_sketches=1)
    cost = pixel_steps(pyramid_recipe(full), 224)
    half = dataclasses.replace(full, coarse_share=1.0, coarse_size=0.5)
    assert at_cost(half, cost, 224).num_steps == 128


def test_samples_change_the_parameters_alone_and_start_with_the_base() -> None:
    samples = sample_configurations(DEFAULT, ("step_size", "noise"), 20, seed=0, image_size=224)
    assert samples[0] == DEFAULT
    assert len({sample.noise for sample in samples}) == 20
    for sample in samples:
        assert dataclasses.replace(sample, step_size=DEFAULT.step_size, noise=DEFAULT.noise) == DEFAULT
        assert RANGES["noise"].low <= sample.noise <= RANGES["noise"].high


def test_a_sample_changes_at_most_three_fields_of_many_and_the_steps() -> None:
    for sample in sample_configurations(DEFAULT, ALL, 20, seed=0, image_size=224)[1:]:
        changed = {name for name in ALL if getattr(sample, name) != getattr(DEFAULT, name)}
        assert 1 <= len(changed) <= 3


def test_samples_depend_on_the_seed_and_not_on_their_number() -> None:
    few = sample_configurations(DEFAULT, ALL, 5, seed=3, image_size=224)
    assert sample_configurations(DEFAULT, ALL, 50, seed=3, image_size=224)[:5] == few
    assert sample_configurations(DEFAULT, ALL, 5, seed=4, image_size=224)[1:] != few[1:]


def test_chunks_hold_every_class_once_in_an_order_of_the_seeds_own() -> None:
    chunks = shuffled_chunks(tuple(range(20)), 8, seed=0)
    assert [len(chunk) for chunk in chunks] == [8, 8, 4]
    order = [index for chunk in chunks for index in chunk]
    assert sorted(order) == list(range(20))
    assert order != sorted(order)
    assert shuffled_chunks(tuple(range(20)), 8, seed=1) != chunks
