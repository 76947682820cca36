"""Adversarial images: one gradient serves every ε.

`attack(model, images, labels, method, epsilons=...)` attacks images; `METHODS` are the methods by name. FGSM is
read from `methods.attack` through `fast_gradient` and `loss_gradient` to `inspection`.
"""

from attrib_core.attacks.batch import AttackBatch, AttackResult, AttackSettings, Method, Predictions
from attrib_core.attacks.methods import METHODS, attack, attack_batch

__all__ = [
    "METHODS",
    "AttackBatch",
    "AttackResult",
    "AttackSettings",
    "Method",
    "Predictions",
    "attack",
    "attack_batch",
]
