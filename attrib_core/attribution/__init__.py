"""Input attribution: which pixels a classifier's answer depends on.

`attribute(model, images, labels, methods, ...)` explains a batch; `METHODS` are the methods by name, and
`method_named` finds those of others too;
`SCORES` are numbers that say how far an attribution can be trusted, by name; `deletion_and_insertion` computes the
two that say how it ranks the pixels.
"""

from attrib_core.attribution.method import Method
from attrib_core.attribution.methods import (
    METHODS,
    Attributions,
    Request,
    attribute,
    attributions,
    check_target,
    method_named,
)
from attrib_core.attribution.scores import SCORES, deletion_and_insertion, score_named, scores_named
from attrib_core.attribution.settings import BASELINES, TARGETS, AttributionSettings, Target

__all__ = [
    "BASELINES",
    "METHODS",
    "SCORES",
    "TARGETS",
    "AttributionSettings",
    "Attributions",
    "Method",
    "Request",
    "Target",
    "attribute",
    "attributions",
    "check_target",
    "deletion_and_insertion",
    "method_named",
    "score_named",
    "scores_named",
]
