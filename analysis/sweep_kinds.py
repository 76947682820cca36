"""The kinds of sweeps that analysis knows: a new kind is one entry of `SWEEP_KINDS`.

Modules are named, not imported, so that a command loads only what its runs need.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SweepKind:
    """What a kind of sweep is called, and where its part of the report and the rows of its claims come from.

    `section` names a function `(run, site) -> Section`. `rows` names a function `(run) -> DataFrame` with the
    columns that claims need; empty for a kind that no claim is about. `together` names a function
    `(runs, site) -> list[Section]` of all runs of the kind, for what takes several together.
    """

    title: str
    section: str
    rows: str = ""
    together: str = ""


SWEEP_KINDS: dict[str, SweepKind] = {
    "activations": SweepKind(title="strongest natural images", section="analysis.units.section:section"),
    "attack": SweepKind(
        title="attack",
        section="analysis.attacks.section:section",
        rows="analysis.claims.evidence:untargeted_rows",
        together="analysis.attacks.robustness:sections",
    ),
    "attribute": SweepKind(
        title="attribution",
        section="analysis.attribution.section:section",
        rows="analysis.attribution.attributions:evidence_rows",
    ),
    "attribute_training": SweepKind(
        title="attribution along training",
        section="analysis.training.section:section",
        rows="analysis.attribution.attributions:attribution_rows",
    ),
    "generate": SweepKind(
        title="generation",
        section="analysis.generation.section:section",
        rows="analysis.claims.evidence:generated_rows",
    ),
    "modify": SweepKind(
        title="modification",
        section="analysis.modification.section:section",
        rows="analysis.modification.rows:load_rows",
    ),
    "tune_recipe": SweepKind(title="recipe search", section="analysis.generation.recipe_search:section"),
    "units": SweepKind(title="units", section="analysis.units.section:section"),
}


def kind_title(kind: str) -> str:
    """Return what a sweep does, in a word or two; for an unknown kind its own name."""
    return SWEEP_KINDS[kind].title if kind in SWEEP_KINDS else kind


def named_function(path: str) -> Callable[..., Any]:
    """Import and return the function that `module:function` names."""
    module, name = path.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
