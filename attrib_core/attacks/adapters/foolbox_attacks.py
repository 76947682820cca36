"""foolbox: `foolbox:L2DeepFoolAttack:steps=50` (Rauber et al. 2017, arXiv:1707.04131).

Fixed-ε attacks run once for each ε, and their images are clipped to it as foolbox does it; minimisation attacks
give the minimum. The calls that foolbox makes to judge its own success are left out: they do not change the
images.
"""

import inspect
import math
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from attrib_core.attacks.adapters import check_settings, choose, import_library, library_version
from attrib_core.attacks.batch import Norm
from attrib_core.attacks.foreign import Foreign, Request
from attrib_core.references import Reference, typed_settings

INSTALL = "pip install 'attrib-sweeps[foolbox]'"
# They refuse targets, or can do nothing without.
_UNTARGETED = (
    "L1FastGradientAttack",
    "L2FastGradientAttack",
    "LinfFastGradientAttack",
    "NewtonFoolAttack",
    "VirtualAdversarialAttack",
)
_TARGETED = ("GenAttack",)
_NORMS: dict[float, Norm] = {0: "l0", 1: "l1", 2: "l2", math.inf: "linf"}


def find(field: str, reference: Reference) -> Foreign:
    """Return the attack of a class of `foolbox.attacks`."""
    library = import_library(field, reference, "foolbox", INSTALL)
    kind = choose(field, reference, _attacks(library))
    settings = typed_settings(field, reference, kind)
    check_settings(field, reference, settings, {})
    attack = _made(field, reference, library, kind, settings)
    fixed = isinstance(attack, library.attacks.base.FixedEpsilonAttack)
    return Foreign(
        reference=str(reference),
        run=partial(_run, library, attack, fixed),
        definition=library_version("foolbox"),
        where=f"foolbox.attacks.{kind.__name__}",
        norm=_norm(field, reference, attack),
        seeks_minimum=not fixed,
        takes_targets=kind.__name__ not in _UNTARGETED,
        needs_targets=kind.__name__ in _TARGETED,
        given=settings,
    )


def _attacks(library: ModuleType) -> dict[str, Any]:
    """Return the attacks by name, those left out that need images of their own (`DatasetAttack`)."""
    base = library.attacks.Attack
    return {
        name: kind
        for name, kind in vars(library.attacks).items()
        if isinstance(kind, type)
        and issubclass(kind, base)
        and not inspect.isabstract(kind)
        and name != "DatasetAttack"
    }


def _made(field: str, reference: Reference, library: ModuleType, kind: Any, settings: dict[str, Any]) -> Any:
    filled = dict(settings)
    if isinstance(filled.get("distance"), str):
        filled["distance"] = getattr(library.distances, filled["distance"], filled["distance"])
    try:
        return kind(**filled)
    except Exception as error:
        raise ValueError(f"{field}={str(reference)!r}: {error}") from error


def _norm(field: str, reference: Reference, attack: Any) -> Norm:
    """Return the norm that the attack minimises or keeps to; the max norm for one without a distance."""
    if not hasattr(type(attack), "distance"):
        return "linf"
    try:
        return _NORMS[attack.distance.p]
    except (ValueError, AttributeError, KeyError):
        accepted = ", ".join(f"{reference}:distance={norm}" for norm in _NORMS.values())
        raise ValueError(
            f"{field}={str(reference)!r}: it needs a distance; accepted are {accepted}"
        ) from None


def _run(library: ModuleType, attack: Any, fixed: bool, network: nn.Module, request: Request) -> Tensor:
    model = library.PyTorchModel(network, bounds=(0, 1), device=request.images.device)
    if request.targets is None:
        criterion = library.criteria.Misclassification(request.labels)
    else:
        criterion = library.criteria.TargetedMisclassification(request.targets)
    if not fixed:
        found: Tensor = attack.run(model, request.images, criterion)
        return found
    found = attack.run(model, request.images, criterion, epsilon=request.epsilon)
    clipped: Tensor = attack.distance.clip_perturbation(request.images, found, request.epsilon)
    return clipped
