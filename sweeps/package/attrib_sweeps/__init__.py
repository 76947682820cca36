"""The public names of attrib-sweeps, for programs and notebooks.

    from attrib_sweeps import Classifier, attack, attribute, generate, results, success_rate

They are loaded when first used: the names that read results need neither torch nor Ray. `attrib-sweeps` and
`python -m attrib_sweeps` are the command line.

In a checkout the code lies in four folders at the top: `attrib_core`, `sweeps`, `cluster` and `analysis`. In the
wheel the same folders lie inside this package, as `attrib_sweeps.attrib_core` and so on, so that nothing else of
the user's called `analysis` or `cluster` is in the way; `sweeps/hatch_build.py` moves them. Either way
`from attrib_sweeps.analysis.attacks import curves` imports the same module.
"""

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

from attrib_sweeps.place import full_name, join_checkout

if TYPE_CHECKING:
    from analysis.figures import draw_attributions as draw_attributions
    from analysis.figures import draw_contact_sheet as draw_contact_sheet
    from analysis.figures import draw_curves as draw_curves
    from analysis.figures import draw_images as draw_images
    from analysis.figures import draw_sanity_check as draw_sanity_check
    from analysis.figures import draw_triptychs as draw_triptychs
    from analysis.generation.judge_accuracy import judge_accuracy as judge_accuracy
    from analysis.load import encoded_images as encoded_images
    from analysis.load import images as images
    from analysis.load import results as results
    from analysis.success_rates import accuracy as accuracy
    from analysis.success_rates import success_rate as success_rate
    from attrib_core.activations import class_activations as class_activations
    from attrib_core.activations import strongest_images as strongest_images
    from attrib_core.activations import unit_activations as unit_activations
    from attrib_core.attacks import AttackSettings as AttackSettings
    from attrib_core.attacks import attack as attack
    from attrib_core.attacks import transfer as transfer
    from attrib_core.attribution import AttributionSettings as AttributionSettings
    from attrib_core.attribution import attribute as attribute
    from attrib_core.classifiers import Classifier as Classifier
    from attrib_core.classifiers import load_classifier as load_classifier
    from attrib_core.datasets import View as View
    from attrib_core.datasets import load_dataset as load_dataset
    from attrib_core.generation import RECIPES as RECIPES
    from attrib_core.generation import PyramidSettings as PyramidSettings
    from attrib_core.generation import generate as generate
    from attrib_core.generation import generate_units as generate_units
    from attrib_core.generation import pyramid_recipe as pyramid_recipe
    from attrib_core.generation.modification import modify as modify
    from attrib_core.units import list_layers as list_layers

# Where each name is.
PUBLIC = {
    "AttackSettings": "attrib_core.attacks",
    "AttributionSettings": "attrib_core.attribution",
    "Classifier": "attrib_core.classifiers",
    "PyramidSettings": "attrib_core.generation",
    "RECIPES": "attrib_core.generation",
    "View": "attrib_core.datasets",
    "accuracy": "analysis.success_rates",
    "attack": "attrib_core.attacks",
    "attribute": "attrib_core.attribution",
    "class_activations": "attrib_core.activations",
    "draw_attributions": "analysis.figures",
    "draw_contact_sheet": "analysis.figures",
    "draw_curves": "analysis.figures",
    "draw_images": "analysis.figures",
    "draw_sanity_check": "analysis.figures",
    "draw_triptychs": "analysis.figures",
    "encoded_images": "analysis.load",
    "generate": "attrib_core.generation",
    "generate_units": "attrib_core.generation",
    "images": "analysis.load",
    "judge_accuracy": "analysis.generation.judge_accuracy",
    "list_layers": "attrib_core.units",
    "load_classifier": "attrib_core.classifiers",
    "load_dataset": "attrib_core.datasets",
    "modify": "attrib_core.generation.modification",
    "pyramid_recipe": "attrib_core.generation",
    "results": "analysis.load",
    "strongest_images": "attrib_core.activations",
    "success_rate": "analysis.success_rates",
    "transfer": "attrib_core.attacks",
    "unit_activations": "attrib_core.activations",
}

join_checkout()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("attrib-sweeps")
    if name not in PUBLIC:
        raise AttributeError(f"attrib_sweeps has no {name!r}; it has {', '.join(PUBLIC)}")
    return getattr(importlib.import_module(full_name(PUBLIC[name])), name)


def __dir__() -> list[str]:
    return [*PUBLIC, "__version__"]
