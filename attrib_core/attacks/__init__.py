"""Adversarial images: one gradient serves every ε.

`attack(model, batch, method, epsilons)` gives the facts about a batch; `METHODS` are the methods by name.
"""

from attrib_core.attacks.batch import AttackBatch, AttackResult, AttackSettings, Predictions
from attrib_core.attacks.methods import METHODS, Method, attack
from attrib_core.attacks.model import AttackedModel

__all__ = [
    "METHODS",
    "AttackBatch",
    "AttackResult",
    "AttackSettings",
    "AttackedModel",
    "Method",
    "Predictions",
    "attack",
]
