"""A user's own function as an attribution method: `FILE.py:FUNCTION` or `package.module:FUNCTION`."""

import torch
from torch import Tensor

from attrib_core.attribution.adapters.foreign import PaddedNetwork, run_foreign
from attrib_core.attribution.method import Method
from attrib_core.attribution.subject import Subject
from attrib_core.references import Reference, typed_settings
from attrib_core.user_code import canonical, find_target
from attrib_core.user_code.functions import UserFunction

CONTRACT = "attribute(model, images, targets, **settings)"
NUM_GIVEN = 3  # model, images, targets


def user_method(field: str, reference: Reference) -> Method:
    """Return the method that a user's function computes: `attribute(model, images, targets, **settings)`.

    It gets a module that maps images `[N, C, H, W]` in [0, 1] to logits `[N, K]`, a copy of the images, and the
    classes `[N]` whose logits are explained. It returns values `[N, C, H, W]`, or `[N, 1, H, W]` for all
    channels alike. A function whose values say how much a pixel matters, and not in which direction, has an
    attribute `is_signed = False`. One whose values are changes a unit of pixel, as those of a gradient, and not
    shares of the logit's change, has `of_inputs = False`. Raises ValueError for what is no such function.
    """
    found = find_target(field, reference)
    function = UserFunction(found.value, f"{field}={str(reference)!r}", CONTRACT)
    _check(function)
    given = [each.name for each in function.positional()[:NUM_GIVEN]]
    settings = typed_settings(field, reference, found.value, given)

    def compute(network: PaddedNetwork, part: Subject) -> Tensor:
        values = function(network, part.images.clone(), part.classes.clone(), **settings)
        return _checked(function, values, part.images)

    return Method(
        lambda subject: run_foreign(subject, str(canonical(reference)), compute),
        describe=lambda _settings: found.definition,
        is_signed=bool(getattr(found.value, "is_signed", True)),
        of_inputs=bool(getattr(found.value, "of_inputs", True)),
        draws_by_batch=True,
        targets=("predicted", "label"),
        given=settings,
    )


def _check(function: UserFunction) -> None:
    value = function.value
    if not callable(value) or isinstance(value, type):
        raise ValueError(
            f"{function.where}: it is a {type(value).__name__}; accepted is a function {CONTRACT}"
        )
    if len(function.positional()) < NUM_GIVEN and not function.takes_any_number:
        raise ValueError(f"{function.where}: it takes {function.signature()}; accepted is {CONTRACT}")


def _checked(function: UserFunction, values: object, images: Tensor) -> Tensor:
    """Return a function's values as `[N, C, H, W]`. Raises ValueError with the user's file and line."""
    if wrong := _wrong(values, images):
        raise ValueError(
            f"{function.place()} returns {wrong}; accepted are finite values {list(images.shape)}, as the images "
            "have, or of one channel"
        )
    assert isinstance(values, Tensor)
    return values.detach().to(images).expand_as(images)


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
