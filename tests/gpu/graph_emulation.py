"""A CUDA graph's behaviour on the CPU, so that what is to be captured can be tested without a GPU.

While a function runs once, every operation is recorded with the tensors that it read and wrote. A replay runs the
operations again on the same tensors, without Python in between, as a graph does: whatever depends on Python's
state, on new memory or on the host's look at a result is not repeated. What CUDA refuses in a capture is refused.
Unlike a capture, recording does the work once; so `record` puts back what the function changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Result = TypeVar("Result")

# The host would wait for a number, or for the number of elements.
WAITS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim"}
# Memory of the host that the device would have to read: a tensor made of Python's numbers.
UPLOADS = {"lift_fresh", "lift", "lift_fresh_copy"}
# Arguments that batch norm writes to without saying so.
WRITTEN = {"running_mean", "running_var"}


@dataclass
class _Operation:
    function: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    results: Any


@dataclass
class Recording(TorchDispatchMode):
    """Records operations while it is active."""

    operations: list[_Operation] = field(default_factory=list)
    # By the address of their memory: tensors of before the function, as they were.
    before: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _own: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        _refuse(name, args, kwargs)
        self._keep(func, args, kwargs)
        results = func(*args, **kwargs)
        self._own.update(
            each.untyped_storage().data_ptr() for each in _tensors(results) if not _aliases(func)
        )
        self.operations.append(_Operation(func, args, kwargs, results))
        return results

    def _keep(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Keep what an operation is about to change, if it was there before the function ran."""
        named = dict(zip((each.name for each in func._schema.arguments), args, strict=False)) | dict(kwargs)
        for argument in func._schema.arguments:
            is_written = argument.alias_info is not None and argument.alias_info.is_write
            if is_written or argument.name in WRITTEN:
                for tensor in _tensors(named.get(argument.name)):
                    address = tensor.untyped_storage().data_ptr()
                    if address not in self._own:
                        whole = tensor.new_empty(0).set_(tensor.untyped_storage())
                        self.before.setdefault(address, (whole, whole.clone()))

    def undo(self) -> None:
        """Put back what the function changed."""
        for whole, copy in self.before.values():
            whole.copy_(copy)

    def replay(self) -> None:
        """Run all operations again, on the memory of the first time."""
        for operation in self.operations:
            again = operation.function(*operation.args, **operation.kwargs)
            if _aliases(operation.function):
                continue
            for recorded, found in zip(_tensors(operation.results), _tensors(again), strict=True):
                recorded.copy_(found)


class EmulatedGraphs:
    """Records as `attrib_core.capture.CudaGraphs` does, on the CPU."""

    def __init__(self) -> None:
        self.num_replays = 0

    def run(self, function: Callable[[], Result]) -> Result:
        return function()

    def record(self, function: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
        recording = Recording()
        try:
            with torch.random.fork_rng(devices=[]), recording:
                results = function()
        finally:
            recording.undo()

        def replay() -> None:
            self.num_replays += 1
            with torch.no_grad():
                recording.replay()

        return replay, results


def _refuse(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise RuntimeError for what CUDA does not capture."""
    if name in WAITS:
        raise RuntimeError(
            f"operation not permitted when stream is capturing: {name}, for which the host waits"
        )
    if name in UPLOADS:
        raise RuntimeError(f"operation not permitted when stream is capturing: {name}, an upload")
    if name.startswith("index") and any(each.dtype == torch.bool for each in _tensors(args[1:2])):
        raise RuntimeError(f"operation not permitted when stream is capturing: {name} by a mask")
    if any(isinstance(each, torch.Generator) for each in tree_leaves((args, kwargs))):
        raise RuntimeError("a generator that was not registered with the graph")


def _aliases(func: Any) -> bool:
    """Return whether results are arguments, or views of them."""
    return func._schema.is_mutable or any(each.alias_info is not None for each in func._schema.returns)


def _tensors(value: Any) -> list[Tensor]:
    return [each for each in tree_leaves(value) if isinstance(each, Tensor)]
