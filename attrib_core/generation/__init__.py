"""Class-conditional images by activation maximisation: objectives, parameterisations, priors, recipes."""

from attrib_core.generation.ascent import Cell, Generated, generate, generate_batch
from attrib_core.generation.evaluation import Evaluation, Verdict, evaluate, to_8_bits
from attrib_core.generation.pyramid_recipe import PyramidSettings, pyramid_recipe
from attrib_core.generation.recipe import Recipe
from attrib_core.generation.recipe_references import find_recipe
from attrib_core.generation.recipes import RECIPES
from attrib_core.generation.unit_ascent import (
    GeneratedUnits,
    UnitCell,
    UnitTask,
    generate_unit_cells,
    recipe_of_units,
)
from attrib_core.generation.unit_images import generate_units

__all__ = [
    "RECIPES",
    "Cell",
    "Evaluation",
    "Generated",
    "GeneratedUnits",
    "PyramidSettings",
    "Recipe",
    "UnitCell",
    "UnitTask",
    "Verdict",
    "evaluate",
    "find_recipe",
    "generate",
    "generate_batch",
    "generate_unit_cells",
    "generate_units",
    "pyramid_recipe",
    "recipe_of_units",
    "to_8_bits",
]
