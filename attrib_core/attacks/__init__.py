"""Adversarial images: one gradient serves every ε.

`attack(model, images, labels, method, epsilons=...)` attacks images; `METHODS` are our methods by name, and
`method_named` finds those of other libraries and of users too (`adapters/`); `transfer` shows adversarial
images to other models. FGSM is read from `methods.attack` through `fast_gradient` and `loss_gradient` to
`inspection`.
"""

from attrib_core.attacks.batch import AttackBatch, AttackResult, AttackSettings, Keep, Method, Predictions
from attrib_core.attacks.foreign import ForeignAttackError
from attrib_core.attacks.methods import (
    METHODS,
    UnknownMethodError,
    attack,
    attack_batch,
    attack_checked,
    method_named,
)
from attrib_core.attacks.victims import Transferred, transfer

__all__ = [
    "METHODS",
    "AttackBatch",
    "AttackResult",
    "AttackSettings",
    "ForeignAttackError",
    "Keep",
    "Method",
    "Predictions",
    "Transferred",
    "UnknownMethodError",
    "attack",
    "attack_batch",
    "attack_checked",
    "method_named",
    "transfer",
]
