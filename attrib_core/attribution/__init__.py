"""Input attribution: which pixels a classifier's answer depends on.

`attribute(model, images, labels, methods, ...)` explains a batch; `METHODS` are the methods by name, and
`method_named` finds those of others too;
`deletion_and_insertion` scores how an attribution ranks the pixels.
"""

from attrib_core.attribution.method import Method
from attrib_core.attribution.methods import (
    METHODS,
    Attributions,
    attribute,
    attributions,
    check_target,
    method_named,
)
from attrib_core.attribution.scores import deletion_and_insertion, ranking_scores
from attrib_core.attribution.settings import BASELINES, TARGETS, AttributionSettings, Target

__all__ = [
    "BASELINES",
    "METHODS",
    "TARGETS",
    "AttributionSettings",
    "Attributions",
    "Method",
    "Target",
    "attribute",
    "attributions",
    "check_target",
    "deletion_and_insertion",
    "method_named",
    "ranking_scores",
]
