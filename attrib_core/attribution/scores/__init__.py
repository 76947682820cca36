"""How far an attribution can be trusted: scores by image and method. Another one is an entry of `SCORES`."""

from attrib_core.attribution.scores.infidelity import InfidelitySettings
from attrib_core.attribution.scores.pointing import padded_boxes
from attrib_core.attribution.scores.ranking import deletion_and_insertion
from attrib_core.attribution.scores.registry import SCORES, check_boxes_given, score_named, scores_named
from attrib_core.attribution.scores.score import Columns, Score, Scored
from attrib_core.attribution.scores.sensitivity import MaxSensitivitySettings

__all__ = [
    "SCORES",
    "Columns",
    "InfidelitySettings",
    "MaxSensitivitySettings",
    "Score",
    "Scored",
    "check_boxes_given",
    "deletion_and_insertion",
    "padded_boxes",
    "score_named",
    "scores_named",
]
