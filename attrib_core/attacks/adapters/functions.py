"""A user's function: `my_file.py:my_attack:strength=2`, `my_package.attacks:square`.

    def my_attack(model, inputs, labels, *, epsilon, targets=None, **settings):
        return adversarial_inputs  # [B, C, H, W] in [0, 1]

`model` maps inputs in [0, 1] to logits. With `my_attack.finds_minimum = True` it gets no ε, and what it found is
measured by `my_attack.norm`: `linf` (the default), `l2`, `l1` or `l0`.
"""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from attrib_core.attacks.batch import NORMS
from attrib_core.attacks.foreign import Foreign, Request
from attrib_core.references import Reference, typed_settings
from attrib_core.user_code import canonical, find_target

FORM = "attack(model, inputs, labels, *, epsilon, targets=None, **settings)"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def find(field: str, reference: Reference) -> Foreign:
    """Return the attack by a function that a file, a folder or an installed package of the user has."""
    target = find_target(field, reference)
    function, where = target.value, f"{field}={str(reference)!r}"
    parameters = _parameters(where, function)
    positional = [each.name for each in parameters.values() if each.kind in _POSITIONAL][:3]
    if len(positional) < 3:
        raise ValueError(
            f"{where}: its function takes {', '.join(parameters) or 'nothing'}; accepted is {FORM}"
        )
    minimum = bool(getattr(function, "finds_minimum", False))
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    if not (minimum or takes_any or "epsilon" in parameters):
        raise ValueError(
            f"{where}: its function takes no epsilon; accepted is {FORM}, or finds_minimum = True on it"
        )
    known = canonical(reference)
    file, line = _source(function, known)
    place = f"{file}, line {line}" if line else file
    if minimum and "epsilon" not in positional and _is_needed(parameters.get("epsilon")):
        raise ValueError(
            f"{where}: {place}: its function needs epsilon, and with finds_minimum = True it gets none; "
            "accepted is one without the other, or epsilon=None"
        )
    norm = getattr(function, "norm", "linf")
    if norm not in NORMS:
        raise ValueError(f"{where}: its norm is {norm!r}; accepted are {', '.join(NORMS)}")
    takes_targets = takes_any or "targets" in parameters
    settings = typed_settings(field, reference, function, [*positional, "epsilon", "targets"])
    return Foreign(
        reference=str(known),
        run=partial(_run, function, settings, takes_targets),
        definition=target.definition,
        where=place,
        file=file,
        norm=norm,
        seeks_minimum=minimum,
        takes_targets=takes_targets,
        given=settings,
    )


def _is_needed(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.default is parameter.empty


def _parameters(where: str, function: Any) -> dict[str, inspect.Parameter]:
    if not callable(function) or isinstance(function, type):
        raise ValueError(f"{where}: it is a {type(function).__name__}; accepted is a function {FORM}")
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: its parameters are hidden; accepted is {FORM}") from error


def _source(function: Any, reference: Reference) -> tuple[str, int | None]:
    """Return the file, as the reference names it or by its name alone, and the function's first line."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if reference.name.endswith(".py"):
        return reference.name, None if code is None else code.co_firstlineno
    if code is None:
        return reference.name, None
    return Path(code.co_filename).name, code.co_firstlineno


def _run(
    function: Callable[..., object],
    settings: dict[str, Any],
    takes_targets: bool,
    network: nn.Module,
    request: Request,
) -> object:
    given: dict[str, Any] = dict(settings)
    if request.epsilon is not None:
        given["epsilon"] = request.epsilon
    if takes_targets:
        given["targets"] = request.targets
    return function(network, request.images, request.labels, **given)
