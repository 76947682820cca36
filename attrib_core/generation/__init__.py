"""Class-conditional images by activation maximisation: objectives, parameterisations, priors, recipes."""

from attrib_core.generation.ascent import Cell, Generated, generate
from attrib_core.generation.evaluation import Evaluation, Verdict, evaluate, to_8_bits
from attrib_core.generation.recipes import RECIPES, Recipe, find_recipe

__all__ = [
    "RECIPES",
    "Cell",
    "Evaluation",
    "Generated",
    "Recipe",
    "Verdict",
    "evaluate",
    "find_recipe",
    "generate",
    "to_8_bits",
]
