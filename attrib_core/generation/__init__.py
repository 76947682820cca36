"""Class-conditional images by activation maximisation: objectives, parameterisations, priors, recipes."""

from attrib_core.generation.ascent import Cell, Generated, generate, generate_batch
from attrib_core.generation.evaluation import Evaluation, Verdict, evaluate, to_8_bits
from attrib_core.generation.pyramid_recipe import PyramidSettings, pyramid_recipe
from attrib_core.generation.recipe import Recipe
from attrib_core.generation.recipe_references import find_recipe
from attrib_core.generation.recipes import RECIPES

__all__ = [
    "RECIPES",
    "Cell",
    "Evaluation",
    "Generated",
    "PyramidSettings",
    "Recipe",
    "Verdict",
    "evaluate",
    "find_recipe",
    "generate",
    "generate_batch",
    "pyramid_recipe",
    "to_8_bits",
]
