"""Image classifiers: they map images `[B, C, H, W]` in [0, 1] to logits `[B, K]`.

`load_classifier(name)` returns a known model, `Classifier.wrap(network)` makes one from any `nn.Module`. To
workers, send the `Checkpoint` of `read_checkpoint(name)`; `build_classifier` makes a classifier from it without
a copy.
"""

# Imported because they register models.
from attrib_core.classifiers import efficientnet_lite, fashion_networks, flower_networks  # noqa: F401
from attrib_core.classifiers.checkpoint import Checkpoint
from attrib_core.classifiers.classifier import Classifier, InputScaling
from attrib_core.classifiers.ensembles import COMBINATIONS, Combination
from attrib_core.classifiers.folding import with_folded_batch_norms
from attrib_core.classifiers.identity import Identity, Labels, Preprocessing
from attrib_core.classifiers.loading import build_classifier, load_classifier, read_checkpoint
from attrib_core.classifiers.registry import Architecture, canonical_name, register
from attrib_core.classifiers.wrapping import Description

__all__ = [
    "COMBINATIONS",
    "Architecture",
    "Checkpoint",
    "Classifier",
    "Combination",
    "Description",
    "Identity",
    "InputScaling",
    "Labels",
    "Preprocessing",
    "build_classifier",
    "canonical_name",
    "load_classifier",
    "read_checkpoint",
    "register",
    "with_folded_batch_norms",
]
