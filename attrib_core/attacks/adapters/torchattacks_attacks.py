"""torchattacks: `torchattacks:PGD:steps=40`, `torchattacks:AutoAttack` (Kim 2020, arXiv:2010.01950).

`eps` is the row's ε where the attack has one; the others give a minimum. Seeds that torchattacks would take from
the clock are derived from the key of the batch's first image.
"""

import inspect
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from attrib_core.attacks.adapters import check_settings, choose, import_library, library_version
from attrib_core.attacks.batch import Norm
from attrib_core.attacks.counted_model import CountedModel
from attrib_core.attacks.foreign import Foreign, Request
from attrib_core.references import Reference, typed_settings
from attrib_core.seeding import global_randomness

INSTALL = "pip install 'attrib-sweeps[torchattacks]'"
# They take attacks, or train networks.
_WRAPPERS = ("MultiAttack", "LGV")
_BUDGETS = ("eps", "max_epsilon")
# All others are of the max norm, or have a setting `norm`.
_NORMS: dict[str, Norm] = {
    **dict.fromkeys(("CW", "PGDL2", "PGDRSL2", "DeepFool", "EADEN", "GN"), "l2"),
    "EADL1": "l1",
    **dict.fromkeys(("SparseFool", "OnePixel", "Pixle", "JSMA"), "l0"),
}
_LARGEST_SEED = 2**31
# Words that a setting may be; what else is given fails only when the attack runs.
_ACCEPTED = {
    "norm": ("Linf", "L2"),
    "kernel_name": ("gaussian", "linear", "uniform"),
    "noise_type": ("guassian", "uniform"),  # as torchattacks spells it
}
_LOSSES = {"APGD": ("ce", "dlr"), "UPGD": ("ce", "dlr", "margin"), "Square": ("margin", "ce")}
# Their targeted mode never asks for targets, and takes the labels for them.
_TARGETS_AS_LABELS = ("SPSA", "PIFGSMPP")


def find(field: str, reference: Reference) -> Foreign:
    """Return the attack of a class of torchattacks."""
    library = import_library(field, reference, "torchattacks", INSTALL)
    kind = choose(field, reference, _attacks(library))
    parameters = inspect.signature(kind).parameters
    budget = next((name for name in _BUDGETS if name in parameters), None)
    given = {"model"} if budget is None else {"model", budget}
    settings = typed_settings(field, reference, kind, given)
    losses = {"loss": _LOSSES[kind.__name__]} if kind.__name__ in _LOSSES else {}
    # 0 steps are BIM's word for a number that it derives from the ε.
    check_settings(field, reference, settings, _ACCEPTED | losses, least=0 if kind.__name__ == "BIM" else 1)
    tried = _tried(field, reference, kind, settings)
    return Foreign(
        reference=str(reference),
        run=partial(_run, kind, budget, settings),
        definition=library_version("torchattacks"),
        where=f"torchattacks.{kind.__name__}",
        norm=_norm(kind.__name__, getattr(tried, "norm", None)),
        seeks_minimum=budget is None,
        takes_targets="targeted" in tried.supported_mode,
        given=settings,
    )


def _attacks(library: ModuleType) -> dict[str, Any]:
    return {name: getattr(library, name) for name in library.__all__ if name not in _WRAPPERS}


def _tried(field: str, reference: Reference, kind: Any, settings: dict[str, Any]) -> Any:
    """Make the attack on a network that is none, which shows what it takes. ValueError for a wrong setting."""
    try:
        with global_randomness(0):  # initial weights are drawn
            return kind(nn.Linear(1, 1), **settings)
    except Exception as error:
        raise ValueError(f"{field}={str(reference)!r}: {error}") from error


def _norm(name: str, chosen: str | None) -> Norm:
    if chosen is None:
        return _NORMS.get(name, "linf")
    norms: dict[str, Norm] = {"Linf": "linf", "L2": "l2"}
    return norms[chosen]


def _run(
    kind: Any, budget: str | None, settings: dict[str, Any], network: CountedModel, request: Request
) -> Tensor:
    attack = kind(network, **_filled(kind, budget, settings, network, request))
    attack.set_device(request.images.device)  # a network without parameters does not tell it
    if request.targets is None:
        found: Tensor = attack(request.images, request.labels)
        return found
    if kind.__name__ != "FAB":
        return _targeted(attack, request.images, request.labels, request.targets)
    # FAB finds targets by their place among the images that it has not misled yet: one target at a time is safe.
    found = request.images.clone()
    for target in set(request.targets.tolist()):
        rows = request.targets == target
        found[rows] = _targeted(attack, request.images[rows], request.labels[rows], request.targets[rows])
    return found


def _targeted(attack: Any, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the images of a targeted attack, which is told the labels too: FAB starts from them."""
    attack.set_mode_targeted_by_function(lambda _images, _labels: targets, quiet=True)
    found: Tensor = attack(images, targets if type(attack).__name__ in _TARGETS_AS_LABELS else labels)
    return found


def _filled(
    kind: Any, budget: str | None, settings: dict[str, Any], network: CountedModel, request: Request
) -> dict[str, Any]:
    """Return the settings with what the network and the row say."""
    parameters, filled = inspect.signature(kind).parameters, dict(settings)
    if budget is not None:
        filled[budget] = request.epsilon
    if "n_classes" in parameters:
        filled.setdefault("n_classes", network.classifier.num_classes)
    if "seed" in parameters and parameters["seed"].default is None:
        filled.setdefault("seed", request.seed % _LARGEST_SEED)
    return filled
