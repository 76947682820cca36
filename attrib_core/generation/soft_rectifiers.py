"""Gradients through ReLUs that fade out below zero instead of ending there; what a network answers stays the same.

A ReLU passes the gradient of an input x where x > 0, and none elsewhere, so that the gradient of an image jumps
from one pattern of active units to the next, and images made with it get ripples. Here the share that passes is

    clamp(x / (2 width) + 1/2, 0, 1)

which rises from 0 at -width to 1 at width: the derivative of ReLU, averaged over shifts of its input by up to the
width. The upper bound of a ReLU6 stops no gradient either. Softer gradients make attacks that transfer better
(backward passes that are more linear: Guo et al. 2020, arXiv:2012.03528; smooth ReLUs: Xie et al. 2020,
arXiv:2006.14536) and images that other networks, and people, name more often.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from attrib_core.device_constants import constant

# What computes a ReLU, as functions that a network calls, and the upper bound of its values.
_RECTIFIERS: dict[Callable[..., Any], float | None] = {
    F.relu: None,
    F.relu_: None,
    torch.relu: None,
    torch.relu_: None,
    Tensor.relu: None,
    Tensor.relu_: None,
    F.relu6: 6.0,
}
_IN_PLACE = {F.relu_, torch.relu_, Tensor.relu_}


@contextmanager
def soft_rectifiers(width: float) -> Iterator[None]:
    """Soften the gradients of all ReLUs and ReLU6s of forward passes made in the context; 0 does nothing.

    Networks without ReLUs, such as a ViT, and those compiled to TorchScript are not changed.
    """
    if width == 0:
        yield
        return
    with _SoftRectifiers(width):
        yield


class _SoftRectifiers(TorchFunctionMode):
    """Puts softened ReLUs in the place of the functions that a network calls."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self._width = width

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = _call_of_a_rectifier(func, *args, **(kwargs or {}))
        if found is None or not torch.is_grad_enabled():
            return func(*args, **(kwargs or {}))
        inputs, bound, in_place = found
        return _SoftRectifier.apply(inputs, bound, in_place, self._width)


def _call_of_a_rectifier(
    func: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[Tensor, float | None, bool] | None:
    """Return a ReLU's input, its upper bound and whether it writes in place; None for other functions."""
    if func is F.hardtanh:  # what torch.nn.ReLU6 calls
        return _call_of_hardtanh(*args, **kwargs)
    if func not in _RECTIFIERS:
        return None
    inputs = args[0] if args else kwargs["input"]
    in_place = func in _IN_PLACE or bool(args[1] if len(args) > 1 else kwargs.get("inplace", False))
    return inputs, _RECTIFIERS[func], in_place


def _call_of_hardtanh(
    input: Tensor,  # noqa: A002 - as torch calls it
    min_val: float = -1.0,
    max_val: float = 1.0,
    inplace: bool = False,
) -> tuple[Tensor, float | None, bool] | None:
    return (input, max_val, inplace) if min_val == 0 else None


class _SoftRectifier(torch.autograd.Function):
    """A ReLU with an upper bound or none, and a gradient that fades out below zero."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bound: float | None, in_place: bool, width: float) -> Tensor:
        half = constant(torch.tensor, inputs.device, 0.5)
        ctx.save_for_backward(torch.add(half, inputs, alpha=1 / (2 * width)).clamp_(0, 1))
        if in_place:
            ctx.mark_dirty(inputs)
            return inputs.clamp_(0, bound)
        return inputs.clamp(0, bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (passed,) = ctx.saved_tensors
        return gradients[0] * passed, None, None, None
