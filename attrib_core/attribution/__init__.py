"""Input attribution: which pixels a classifier's answer depends on.

`attribute(model, images, labels, methods, ...)` explains a batch; `METHODS` are the methods by name;
`deletion_and_insertion` scores how an attribution ranks the pixels.
"""

from attrib_core.attribution.methods import METHODS, Attributions, Method, attribute
from attrib_core.attribution.scores import deletion_and_insertion
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
    "deletion_and_insertion",
]
