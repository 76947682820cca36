"""A pretend GPU: tensors on a device 'gpu' whose bytes lie in CPU memory, and counts of what a real one would do.

Every operation is checked for tensors of mixed devices and counted as a kernel; copies between host and device and
waits of the host are counted by the line of ours that causes them. Numbers are those of the CPU, and nothing runs
in parallel: it shows what a run asks of a GPU, not how fast or how exact the GPU is. Autocast does nothing, and
branches that ask for `device.type == "cuda"` are not taken.

torch registers such a device once for the whole process. Outside `pretend_gpu` it says that there is none.
"""

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _DummyPrivateUse1Hook,
    _setup_privateuseone_for_python_backend,
)

from attrib_core import execution

NAME = "gpu"
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
OURS = tuple(f"{ROOT / package}/" for package in ("attrib_core", "sweeps"))
# Operations that only look at memory otherwise, or set it aside.
VIEWS = {
    *("_reshape_alias", "_unsafe_view", "alias", "as_strided", "chunk", "detach", "diagonal", "expand"),
    *("lift_fresh", "narrow", "permute", "select", "slice", "split", "split_with_sizes", "squeeze", "t"),
    *("transpose", "unbind", "unfold", "unsqueeze", "view", "view_as_complex", "view_as_real"),
}
WITHOUT_KERNEL = VIEWS | {
    *("empty", "empty_like", "empty_strided", "is_same_size", "new_empty", "new_empty_strided", "set_"),
    *("size", "stride", "sym_size"),
}
COPIES = {"_to_copy", "to", "copy_"}
INDEXING = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}
# The host waits, since it needs a number, or the number of elements of what comes out.
READS = {"_local_scalar_dense", "equal", "is_nonzero"}
SIZED_BY_CONTENT = {"nonzero", "masked_select", "_unique2", "unique_dim"}
# These take steps and learning rates on the CPU.
FUSED = {"_fused_adam_", "_fused_adamw_", "_fused_sgd_"}


@dataclass
class Counts:
    """What was asked of the device since the last `clear`: kernels by operation, the rest by the line of ours."""

    kernels: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)  # for which the host does not wait
    blocking_uploads: Counter[str] = field(default_factory=Counter)
    downloads: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)  # `.item()`, `bool()`, `nonzero`, boolean indices

    @property
    def waits(self) -> Counter[str]:
        """Waits of the host, by place: blocking uploads, downloads and reads."""
        return self.blocking_uploads + self.downloads + self.reads

    @property
    def num_waits(self) -> int:
        return self.waits.total()

    @property
    def num_kernels(self) -> int:
        return self.kernels.total()

    def clear(self) -> None:
        """Begin anew."""
        for counter in (self.kernels, self.uploads, self.blocking_uploads, self.downloads, self.reads):
            counter.clear()

    def report(self) -> str:
        """Return the totals, and a line for each place where the host waits."""
        uploads = f"{self.uploads.total()} uploads without a wait"
        totals = f"{self.num_kernels} kernels, {self.num_waits} waits, {uploads}"
        kinds = (("upload", self.blocking_uploads), ("download", self.downloads), ("read", self.reads))
        lines = [
            f"  {count:5} {kind} {place}" for kind, found in kinds for place, count in found.most_common()
        ]
        return "\n".join([totals, *lines])


class PretendTensor(Tensor):
    """A tensor on the pretend device, around one of CPU memory."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "PretendTensor":
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=0,
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], *_: object) -> "PretendTensor":
        return PretendTensor(inner["inner"])

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        return self.cpu().tolist()  # torch has none for tensors such as this

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"PretendTensor({self.inner})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _EveryOperation(TorchDispatchMode):
    """Sends operations here that see no tensor of the device, such as `torch.zeros(..., device="gpu")`."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Module(_DummyBackendModule):
    """What is `torch.gpu`: one device inside `pretend_gpu`, else none."""

    def is_available(self) -> bool:
        return _active is not None

    def device_count(self) -> int:
        return int(self.is_available())

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class _Hook(_DummyPrivateUse1Hook):
    def is_available(self) -> bool:
        return _active is not None


_active: Counts | None = None


@contextmanager
def pretend_gpu() -> Iterator[Counts]:
    """Make the device 'gpu' usable in this thread, by `choose_execution` too, and count what is asked of it.

    A tensor of mixed devices raises RuntimeError, as on a real GPU. What torch and `attrib_core` had is given back
    at the end.
    """
    global _active
    assert _active is None, "it is active already"
    register()
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    autocast = torch.library.Library("_", "IMPL")
    autocast.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "tensor", _uploading(torch.tensor))
        patch.setattr(execution, "_device", _accepting(execution._device))
        _active = Counts()
        try:
            with _EveryOperation():
                _compute_with(torch.get_num_threads())
                _active.clear()
                yield _active
        finally:
            _active = None
            library._destroy()
            autocast._destroy()


def _compute_with(num_threads: int) -> None:
    """Give backward passes, which run in a thread of the device, as many CPU threads as forward passes have."""

    class SetsThreads(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, tensor: Tensor) -> Tensor:
            return tensor.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            torch.set_num_threads(num_threads)
            return gradients[0]

    number = torch.zeros((), device=NAME, requires_grad=True)
    torch.autograd.grad(SetsThreads.apply(number), number)


@functools.cache
def register() -> None:
    """Tell torch of the device. It looks once which there are, at the first backward pass of a process."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module(), hook=_Hook())


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation on the bytes in CPU memory and count it."""
    name = func._schema.name.split("::")[1]
    if name in COPIES:
        return _copy(func, name, args, kwargs)
    on_gpu = _is_gpu(kwargs.get("device")) or _check_devices(name, args, kwargs)
    if on_gpu:
        _count(name, args)
    found = func(*tree_map(_inner, args), **_on_cpu(kwargs))
    return _wrapped(func, args, kwargs, found) if on_gpu else found


def _copy(func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Copy between devices, or on one."""
    if name == "copy_":
        target, source = args[0], args[1]
        _count_copy(name, source, isinstance(target, PretendTensor), non_blocking=any(args[2:]))
        _inner(target).copy_(_inner(source))
        return target
    device, source = kwargs.get("device"), args[0]
    to_gpu = isinstance(source, PretendTensor) if device is None else _is_gpu(device)
    _count_copy(name, source, to_gpu, non_blocking=kwargs.get("non_blocking", False))
    found = func(_inner(source), *args[1:], **_on_cpu(kwargs) | {"non_blocking": False})
    return PretendTensor(found) if to_gpu else found


def _count_copy(name: str, source: Tensor, to_gpu: bool, *, non_blocking: bool) -> None:
    if _active is None:
        return
    from_gpu = isinstance(source, PretendTensor)
    if from_gpu and to_gpu:
        _active.kernels[name] += 1
    elif from_gpu:
        _active.downloads[_place()] += 1
    elif to_gpu:
        (_active.uploads if non_blocking else _active.blocking_uploads)[_place()] += 1


def _check_devices(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether the operation runs on the device. Raises RuntimeError where tensors are of mixed devices."""
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    on_gpu = any(isinstance(each, PretendTensor) for each in tensors)
    # One number on the CPU goes along with the kernel.
    on_cpu = [each for each in tensors if not isinstance(each, PretendTensor) and each.dim()]
    indexed = name in INDEXING and isinstance(args[0], PretendTensor)  # indices on the CPU are copied
    if on_gpu and on_cpu and not indexed and name not in FUSED:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {name} has some on gpu:0 and on cpu, of shapes "
            f"{[tuple(each.shape) for each in on_cpu]}, at {_place()}"
        )
    if on_gpu and on_cpu and indexed and _active is not None:
        _active.blocking_uploads[_place()] += len(on_cpu)
    return on_gpu


def _count(name: str, args: Sequence[Any]) -> None:
    if _active is None or name in WITHOUT_KERNEL:
        return
    by_mask = name in INDEXING and any(
        isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) for each in tree_leaves(args[1])
    )
    if name in READS | SIZED_BY_CONTENT or by_mask:
        _active.reads[_place()] += 1
    if name != "_local_scalar_dense":
        _active.kernels[name] += 1


def _wrapped(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], found: Any) -> Any:
    """Return results on the device; what was changed in place is given back as it was passed."""
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    # A view is a tensor of inference where its base is one; then torch keeps no account of it.
    is_view = func._schema.name.removeprefix("aten::") in VIEWS
    inference = any(each.is_inference() for each in tensors) if is_view else torch.is_inference_mode_enabled()
    with torch.inference_mode(inference):
        results = tree_map(lambda each: PretendTensor(each) if isinstance(each, Tensor) else each, found)
    if func._schema.name.startswith("aten::_fused") or (inference and not func._schema.is_mutable):
        return results
    return return_and_correct_aliasing(func, args, kwargs, results)


def _on_cpu(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    inner = tree_map(_inner, dict(kwargs))
    return inner | {"device": CPU} if _is_gpu(inner.get("device")) else inner


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, PretendTensor) else value


def _is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _place() -> str:
    """Return the innermost line of ours on the stack, else where the test itself asks."""
    frame, others = sys._getframe(1), ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return f"{Path(file).relative_to(ROOT)}:{frame.f_lineno}"
        if not others and "/torch/" not in file and file != __file__:
            others = f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return others


def _uploading(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return `torch.tensor`, which makes a tensor on the CPU first: it does not go through the dispatcher."""

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        return make(data, **options).to(device) if _is_gpu(device) else make(data, device=device, **options)

    return tensor


def _accepting(choose: Callable[[Any], torch.device]) -> Callable[[Any], torch.device]:
    return lambda device: torch.device(NAME) if _is_gpu(device) else choose(device)


# What torch does outside the dispatch of Python, such as `Tensor.new_tensor`.


def _empty_strided(
    size: Sequence[int], stride: Sequence[int], *, dtype: torch.dtype | None = None, **_: Any
) -> Tensor:
    return PretendTensor(
        torch.empty_strided(size, stride, dtype=dtype or torch.get_default_dtype(), device=CPU)
    )


def _empty(size: Sequence[int], *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return PretendTensor(torch.empty(size, dtype=dtype or torch.get_default_dtype(), device=CPU))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _count_copy("_copy_from", source, isinstance(target, PretendTensor), non_blocking=non_blocking)
    _inner(target).copy_(_inner(source))
    return target
