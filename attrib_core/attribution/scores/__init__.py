"""How far an attribution can be trusted: scores by image and method. Another one is an entry of `SCORES`."""

from attrib_core.attribution.scores.infidelity import InfidelitySettings
from attrib_core.attribution.scores.ranking import deletion_and_insertion
from attrib_core.attribution.scores.registry import SCORES, score_named, scores_named
from attrib_core.attribution.scores.score import Columns, Score, Scored
from attrib_core.attribution.scores.sensitivity import MaxSensitivitySettings

__all__ = [
    "SCORES",
    "Columns",
    "InfidelitySettings",
    "MaxSensitivitySettings",
    "Score",
    "Scored",
    "deletion_and_insertion",
    "score_named",
    "scores_named",
]
