"""A user's own function as an attribution method: `FILE.py:FUNCTION` or `package.module:FUNCTION`."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attrib_core.attribution.adapters.foreign import PaddedNetwork, is_ours, run_foreign
from attrib_core.attribution.method import Method
from attrib_core.attribution.subject import Subject
from attrib_core.references import Reference, typed_settings
from attrib_core.user_code import find_target, first_line
from attrib_core.user_code.targets import failed_line

CONTRACT = "attribute(model, images, targets, **settings)"
Function = Callable[..., Any]


def user_method(field: str, reference: Reference) -> Method:
    """Return the method that a user's function computes: `attribute(model, images, targets, **settings)`.

    It gets a module that maps images `[N, C, H, W]` in [0, 1] to logits `[N, K]`, a copy of the images, and the
    classes `[N]` whose logits are explained. It returns values `[N, C, H, W]`, or `[N, 1, H, W]` for all
    channels alike. A function whose values say how much a pixel matters, and not in which direction, has an
    attribute `is_signed = False`. Raises ValueError for what is no such function.
    """
    found = find_target(field, reference)
    function = found.value
    _check_function(f"{field}={str(reference)!r}", function)
    settings = typed_settings(field, reference, function, given=_first_three(function))

    def values(subject: Subject) -> Tensor:
        return run_foreign(
            subject,
            str(reference),
            lambda network, part: _called(reference, function, settings, network, part),
        )

    return Method(
        values,
        describe=lambda _settings: found.definition,
        is_signed=bool(getattr(function, "is_signed", True)),
        targets=("predicted", "label"),
    )


def _called(
    reference: Reference,
    function: Function,
    settings: Mapping[str, Any],
    network: PaddedNetwork,
    part: Subject,
) -> Tensor:
    """Return the function's values `[N, C, H, W]`. Raises ValueError with the user's file and line."""
    try:
        values = function(network, part.images.clone(), part.classes.clone(), **settings)
    except Exception as error:  # a user's function may raise anything
        if is_ours(error):
            raise
        line = failed_line(error, _file(reference, function))
        raise ValueError(
            f"{_place(reference, function, line)} fails: {first_line(error)}; accepted is {CONTRACT}"
        ) from error
    if wrong := _wrong(values, part.images):
        raise ValueError(
            f"{_place(reference, function, None)} returns {wrong}; accepted are finite values "
            f"{list(part.images.shape)}, as the images have, or of one channel"
        )
    checked: Tensor = values.detach().to(part.images)
    return checked.expand_as(part.images)


def _wrong(values: object, images: Tensor) -> str | None:
    """Return in words what is wrong with values, None if they are right."""
    if not isinstance(values, Tensor):
        return f"a {type(values).__name__}"
    count, _, *size = images.shape
    if values.shape not in (images.shape, torch.Size((count, 1, *size))):
        return f"values {list(values.shape)}"
    if values.is_complex() or not bool(values.isfinite().all()):
        return "NaN, infinite or complex values"
    return None


def _check_function(where: str, function: object) -> None:
    if not callable(function) or isinstance(function, type):
        raise ValueError(f"{where}: it is a {type(function).__name__}; accepted is a function {CONTRACT}")
    if len(_first_three(function)) < 3 and not _takes_any_number(function):
        raise ValueError(f"{where}: it takes {_signature(function)}; accepted is {CONTRACT}")


def _parameters(function: Function) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # hidden, as in code that is compiled
        return [inspect.Parameter("any", inspect.Parameter.VAR_POSITIONAL)]


def _first_three(function: Function) -> tuple[str, ...]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(each.name for each in _parameters(function) if each.kind in kinds)[:3]


def _takes_any_number(function: Function) -> bool:
    return any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in _parameters(function))


def _signature(function: Function) -> str:
    return f"({', '.join(str(each) for each in _parameters(function))})"


def _file(reference: Reference, function: Function) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Path(code.co_filename).name if code is not None else Path(reference.name).name


def _place(reference: Reference, function: Function, line: int | None) -> str:
    """Return the words for the method and the line of the user's file: the one that failed, or its first one."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    number = line or getattr(code, "co_firstlineno", None)
    at = "" if number is None else f", line {number},"
    return f"methods={str(reference)!r}: {_file(reference, function)}{at}"
