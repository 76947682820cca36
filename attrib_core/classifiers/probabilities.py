"""Whether a network answers with probabilities instead of logits: by its last operations, and by its answers.

Attacks and attribution follow the gradient of a loss of logits. Of probabilities it vanishes where the network is
confident, so that every image would seem robust.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attrib_core.classifiers.outputs import main_output

aten: Any = torch.ops.aten
_SIGMOIDS, _SOFTMAXES = (aten.sigmoid, aten.sigmoid_), (aten._softmax,)
_LOG_SOFTMAXES, _EXPONENTIALS = (aten._log_softmax,), (aten.exp, aten.exp_)
# What leaves probabilities what they are: other shapes and types, limits, and means of several.
_KEEPING = {
    *(aten.clamp, aten.clamp_, aten.clamp_min, aten.clamp_min_, aten.clamp_max, aten.clamp_max_, aten.relu),
    *(
        aten.minimum,
        aten.maximum,
        aten.nan_to_num,
        aten.round,
        aten.clone,
        aten._to_copy,
        aten.detach,
        aten.alias,
    ),
    *(aten.view, aten._unsafe_view, aten.squeeze, aten.unsqueeze, aten.slice, aten.select, aten.index_select),
    *(aten.stack, aten.cat, aten.mean, aten.sum, aten.expand),
}
# Arithmetic with numbers, or one number a class. Of a sigmoid it may make logits in a range, `4 sigmoid(z) - 2`.
_ARITHMETIC = {
    *(
        aten.mul,
        aten.mul_,
        aten.div,
        aten.div_,
        aten.add,
        aten.add_,
        aten.sub,
        aten.sub_,
        aten.pow,
        aten.sqrt,
    ),
}
_SUMS = {aten.mean, aten.sum}
LEAST_SPREAD = (
    1e-3  # of outputs between images, as a share of the largest, from which their sums are compared
)
LARGEST_CHANGE = 1e-3  # of the sums, as a share of that spread


class WatchedPass(TorchDispatchMode):
    """The context of a forward pass, which follows the results of sigmoid and softmax to the output.

    Tensors are known by their memory, whatever their shape. They are kept alive, since freed memory could be
    another tensor's.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sigmoids: dict[int, Tensor] = {}
        self._softmaxes: dict[int, Tensor] = {}
        self._log_softmaxes: dict[int, Tensor] = {}

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self._note(function.overloadpacket, list(_tensors(args)), result)
        return result

    def gave_probabilities(self, output: object) -> bool:
        """Return True if the output is the result of a sigmoid or softmax, or of operations that keep it one."""
        logits = main_output(output)
        return isinstance(logits, Tensor) and (
            _start(logits) in self._sigmoids or _start(logits) in self._softmaxes
        )

    def _note(self, operation: Any, inputs: list[Tensor], result: Tensor) -> None:
        is_exponential = operation in _EXPONENTIALS and _start(inputs[0]) in self._log_softmaxes
        follows = {
            "sigmoid": operation in _SIGMOIDS
            or (operation in _KEEPING and _keeps(operation, self._sigmoids, inputs, result)),
            "softmax": operation in _SOFTMAXES
            or is_exponential
            or (operation in _KEEPING | _ARITHMETIC and _keeps(operation, self._softmaxes, inputs, result)),
            "log_softmax": operation in _LOG_SOFTMAXES,
        }
        known = (self._sigmoids, self._softmaxes, self._log_softmaxes)
        writes = getattr(operation, "__name__", "").endswith("_")
        for tensors, holds in zip(known, follows.values(), strict=True):
            if holds:
                tensors[_start(result)] = result
            elif writes:  # over what was there, as `log_` does
                tensors.pop(_start(result), None)


def check_sums(where: str, logits: Tensor) -> None:
    """Raise ValueError if answers `[B, K]` for different images are all positive and have equal sums.

    That finds a softmax by a network's own formula, and scaled ones. Answers that do not differ say nothing.
    """
    rows = logits.double()
    if not rows.isfinite().all() or rows.shape[1] < 2 or rows.min() < 0:
        return
    spread, sums = (rows.amax(0) - rows.amin(0)).max(), rows.sum(1)
    if spread > LEAST_SPREAD * rows.max() and sums.max() - sums.min() <= LARGEST_CHANGE * spread:
        raise ValueError(
            f"{where}: each image's outputs add up to {sums.mean().item():.4g}, so its outputs are probabilities; "
            "accepted are logits, before the softmax"
        )


def _keeps(operation: Any, known: dict[int, Tensor], inputs: list[Tensor], result: Tensor) -> bool:
    """Return True if all inputs are known, beside numbers and vectors, and the classes are as many as before."""
    of_images = [each for each in inputs if each.ndim > 1 and each.numel() > 1] or inputs
    if not of_images or not all(_start(each) in known for each in of_images):
        return False
    # A sum over the classes is a number that may be anything, such as the mean of a softmax over values.
    as_many = any(each.shape[-1:] == result.shape[-1:] for each in of_images)
    return as_many or (result.ndim < 2 and operation not in _SUMS)


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _start(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
