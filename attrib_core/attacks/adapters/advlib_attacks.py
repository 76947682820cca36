"""adv-lib: `advlib:fmn:norm=0`, `advlib:ddn`, `advlib:apgd:norm=2` (github.com/jeromerony/adversarial-library).

Most of its attacks find minima; three take an ε.
"""

import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from torch import Tensor

from attrib_core.attacks.adapters import check_settings, choose, import_library, library_version
from attrib_core.attacks.batch import Norm
from attrib_core.attacks.counted_model import CountedModel
from attrib_core.attacks.foreign import Foreign, Request
from attrib_core.references import Reference, typed_settings

# Its requirement visdom no longer builds, and is not needed: see `_without_visdom`.
INSTALL = "pip install --no-deps adv-lib tqdm"
_BUDGETS = {"apgd": "eps", "apgd_targeted": "eps", "pgd_linf": "ε"}
# The setting that chooses the norm, where there is one; else the norm itself. All others are Euclidean.
_CHOSEN_BY = {"alma": "distance", "tr": "p"}
_NORMS: dict[str, Norm] = {
    **dict.fromkeys(("carlini_wagner_linf", "pgd_linf"), "linf"),
    **dict.fromkeys(("sigma_zero", "fga", "vfga"), "l0"),
}
# Where targets are wanted, they give a warning and the images as they were; one fails.
_UNTARGETED = ("df", "sdf", "fab", "tr", "sigma_zero", "apgd_targeted")
# What settings may be, by attack; what else is given fails only when the attack runs.
_AUTO_PGD = {"norm": (1, 2, math.inf), "loss_function": ("ce", "dlr")}
_ACCEPTED: dict[str, dict[str, tuple[Any, ...]]] = {
    "alma": {"distance": ("l1", "l2", "ssim", "msssim", "ciede2000", "lpips")},
    "apgd": _AUTO_PGD,
    "apgd_targeted": _AUTO_PGD,
    "df": {"norm": (2, math.inf)},
    "fab": {"norm": (1, 2, math.inf)},
    "fmn": {"norm": (0, 1, 2, math.inf)},
    "pdpgd": {"norm": (0, 1, 2, math.inf), "proximal_operator": (0, 1, 2, 23, math.inf)},
    "pgd_linf": {"loss_function": ("ce", "dl", "dlr")},
    "tr": {"p": (2, math.inf)},
}
_BY_ORDER: dict[float, Norm] = {0: "l0", 1: "l1", 2: "l2", math.inf: "linf"}


def find(field: str, reference: Reference) -> Foreign:
    """Return the attack of a function of `adv_lib.attacks`."""
    with _without_visdom():
        library = import_library(field, reference, "adv_lib.attacks", INSTALL)
    function = choose(field, reference, _attacks(library))
    name, parameters = function.__name__, list(inspect.signature(function).parameters)
    budget = _BUDGETS.get(name)
    given = {*parameters[:3], "targeted", "num_classes", "callback", "starting_points", budget or ""}
    settings = typed_settings(field, reference, function, given)
    if "loss_function" in settings:
        settings["loss_function"] = settings["loss_function"].lower()  # as adv-lib reads it
    check_settings(field, reference, settings, _ACCEPTED.get(name, {}))
    filled_in = {"num_classes": None} if "num_classes" in parameters else {}  # by the model
    return Foreign(
        reference=str(reference),
        run=partial(_run, function, budget, settings | filled_in),
        definition=library_version("adv-lib"),
        where=f"adv_lib.attacks.{name}",
        norm=_norm(function, settings),
        seeks_minimum=budget is None,
        takes_targets=name not in _UNTARGETED,
        given=settings,
    )


@contextmanager
def _without_visdom() -> Iterator[None]:
    """Let adv-lib be imported where visdom is not installed.

    Its attacks import visdom for charts that only a `callback` draws, and none is passed here. An empty module
    stands in for it while adv-lib is imported, and is gone afterwards.
    """
    if "visdom" in sys.modules or find_spec("visdom") is not None:
        yield
        return
    sys.modules["visdom"] = ModuleType("visdom")
    try:
        yield
    finally:
        del sys.modules["visdom"]


def _attacks(library: ModuleType) -> dict[str, Any]:
    return {name: each for name, each in vars(library).items() if inspect.isfunction(each)}


def _norm(function: Callable[..., Tensor], settings: dict[str, Any]) -> Norm:
    """Return the norm that the attack keeps to or minimises; the Euclidean one for a perceptual distance."""
    name, parameters = function.__name__, inspect.signature(function).parameters
    setting = _CHOSEN_BY.get(name, "norm")
    if setting not in parameters:
        return _NORMS.get(name, "l2")
    chosen = settings.get(setting, parameters[setting].default)
    by_name: dict[Any, Norm] = {norm: norm for norm in _BY_ORDER.values()}
    return (by_name | _BY_ORDER).get(chosen, "l2")


def _run(
    function: Callable[..., Tensor],
    budget: str | None,
    settings: dict[str, Any],
    network: CountedModel,
    request: Request,
) -> Tensor:
    targeted = request.targets is not None
    filled = settings | {"targeted": targeted}
    if budget is not None:
        filled[budget] = request.epsilon
    if "num_classes" in filled:
        filled["num_classes"] = network.classifier.num_classes
    return function(network, request.images, request.targets if targeted else request.labels, **filled)
