"""Recipes as files: what is written is read back, what is wrong is named, and digests outlive the process."""

import dataclasses
import subprocess
import sys

import pytest

from attrib_core.generation import RECIPES, PyramidSettings, pyramid_recipe
from attrib_core.generation.recipe_files import (
    LATER_FIELDS,
    custom_recipe,
    read_settings,
    recipe_digest,
    settings_digest,
    write_settings,
)

SETTINGS = PyramidSettings(num_steps=32, step_size=0.1234, smallest_crop=0.4, coarse_share=0.9, rotation=20.0)
TEXT = write_settings(SETTINGS, "found on a Sunday\nby chance")


def test_what_is_written_is_read_back() -> None:
    assert TEXT.startswith("# found on a Sunday\n# by chance\n")
    assert read_settings(TEXT, "mine.yaml") == SETTINGS


def test_whole_numbers_are_accepted_for_any_number_and_mean_the_same() -> None:
    text = write_settings(SETTINGS).replace("rotation: 20.0", "rotation: 20")
    assert text != write_settings(SETTINGS)
    assert settings_digest(read_settings(text, "mine.yaml")) == settings_digest(SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("step_size:", "stepsize:"), "mine.yaml: unknown field 'stepsize'; accepted: num_steps, step_size"),
        (("step_size: 0.1234\n", ""), "mine.yaml: missing fields; `default` has step_size: "),
        (("0.1234", "1e-3"), r"step_size: '1e-3' is not accepted \(YAML reads 1e-3 as text: write 0.001\)"),
        (("0.1234", ".nan"), "step_size: nan is not accepted; accepted: a number from 0"),
        (("0.1234", "-0.1"), "step_size: -0.1 is not accepted; accepted: a number from 0"),
        (("0.1234", "true"), "step_size: True is not accepted"),
        (("0.1234", "[0.1]"), r"step_size: \[0.1\] is not accepted"),
        (("num_steps: 32", "num_steps: 0"), "num_steps: 0 is not accepted; accepted: a whole number from 1"),
        (("num_steps: 32", "num_steps: 1.5"), "num_steps: 1.5 is not accepted"),
        (("smallest_crop: 0.4", "smallest_crop: 0"), "smallest_crop: 0 is not accepted; accepted: .*above 0"),
        (("coarse_share: 0.9", "coarse_share: 1.1"), "coarse_share: 1.1 is not accepted; .*from 0 to 1"),
        (("num_steps: 32", "num_steps: 32: 1"), "mine.yaml is not YAML"),
        ((TEXT, "0.1"), "mine.yaml holds a float; accepted: `field: number` lines"),
        ((TEXT, ""), "mine.yaml holds a NoneType"),
    ],
)
def test_a_mistake_names_the_file_the_field_and_what_is_accepted(
    change: tuple[str, str], message: str
) -> None:
    wrong = TEXT.replace(*change)
    assert wrong != TEXT
    with pytest.raises(ValueError, match=message):
        read_settings(wrong, "mine.yaml")


def test_a_custom_recipe_is_named_by_its_file_and_its_content() -> None:
    name, recipe = custom_recipe(TEXT, "s3://bucket/my recipe.v2.yaml")
    assert name == f"my_recipe_v2-{settings_digest(SETTINGS)}"
    assert recipe_digest(recipe) == recipe_digest(pyramid_recipe(SETTINGS))
    other = write_settings(dataclasses.replace(SETTINGS, step_size=0.2))
    assert custom_recipe(other, "my recipe.v2.yaml")[0] != name


OLD_TEXT = """\
num_steps: 32
step_size: 0.1234
final_step_size: 0.01
momentum: 0.3
coarse_weight: 3.0
fine_weight: 0.25
num_levels: 6
noise: 0.1
coarse_share: 0.9
coarse_size: 0.5
fine_size: 0.7142857142857143
smallest_crop: 0.4
largest_crop: 1.1
rotation: 20.0
aspect: 0.1
brightness: 0.1
contrast: 0.2
color: 0.05
residual_gradient: 0.5
"""


def test_files_of_earlier_versions_keep_their_meaning_and_their_name() -> None:
    settings = read_settings(OLD_TEXT, "old.yaml")
    assert {name: getattr(settings, name) for name in LATER_FIELDS} == LATER_FIELDS
    # As the version before these fields computed them.
    assert settings_digest(settings) == "b9c32215"
    assert recipe_digest(pyramid_recipe(settings)) == "9a415e9cc8d92923"
    unchanged = {"plain": "e997a0625247b825", "octaves": "eee868fff4ce15fe", "lucid": "ebd367f112b6ec8d"}
    assert {name: recipe_digest(RECIPES[name]) for name in unchanged} == unchanged


CHANGES = {
    "cross_entropy": 0.25,
    "total_variation": 0.25,
    "rectifier_width": 0.25,
    "sketch_share": 0.25,
    "saturation": 0.25,
    "num_candidates": 2,
    "num_sketches": 2,
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_later_field_changes_both_digests(name: str) -> None:
    settings = read_settings(OLD_TEXT, "old.yaml")
    changed = dataclasses.replace(settings, **{name: CHANGES[name]})
    assert settings_digest(changed) != settings_digest(settings)
    assert recipe_digest(pyramid_recipe(changed)) != recipe_digest(pyramid_recipe(settings))


def test_digests_tell_recipes_apart() -> None:
    digests = {name: recipe_digest(recipe) for name, recipe in RECIPES.items()}
    assert len(set(digests.values())) == len(RECIPES)
    assert digests["default"] != recipe_digest(pyramid_recipe(SETTINGS))


def test_digests_are_the_same_in_another_process() -> None:
    code = """
from attrib_core.generation import RECIPES
from attrib_core.generation.recipe_files import recipe_digest
print({name: recipe_digest(recipe) for name, recipe in RECIPES.items()})
"""
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str({name: recipe_digest(recipe) for name, recipe in RECIPES.items()})
