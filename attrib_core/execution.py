"""How a model runs fast: device, memory format, precision, compilation, and the size of a batch.

The one place that decides it. What torch sets for the whole process is set for our passes alone, and put back.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar, cast, get_args

import torch
from torch import Tensor, nn

from attrib_core.devices import check_precision
from attrib_core.numerics import WITH_TF32, WITHOUT_TF32, numerics
from attrib_core.pooling import with_sliced_pooling

Precision = Literal["float32", "bfloat16", "float16", "tf32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# Sizes of batches are multiples of this, which keeps a CPU's vector units full.
BATCH_MULTIPLE = 4
SLOWER = 0.95  # a candidate below this share of the best rate ends the climb
# How torch's allocators, CUDA, cuBLAS and cuDNN say that there is no memory, outside torch's own error for it. The
# last two mean that no algorithm could have the memory that it works in: a smaller batch may find one.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "unable to find an engine",
    "CUDNN_STATUS_NOT_SUPPORTED",
)

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Execution:
    """Device, precision and memory format of a network's passes."""

    device: torch.device
    precision: Precision = "float32"
    channels_last: bool = True
    compile: bool = False

    def prepare(self, module: Module) -> Module:
        """Move the module itself to the device and memory format, compile it if asked to, and return it."""
        module.to(device=self.device)
        if self.device.type == "cpu":
            with_sliced_pooling(module)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        if self.compile:
            module.compile()
        return module

    def images(self, images: Tensor) -> Tensor:
        """Return images `[B, C, H, W]` on the device, in the memory format."""
        images = self.to_device(images)
        return images.to(memory_format=torch.channels_last) if self.channels_last else images

    def to_device(self, tensor: Tensor) -> Tensor:
        """Return the tensor on the device. The host does not wait for the copy."""
        if self.device.type == "cpu":
            return tensor.to(self.device)
        if self.device.type == "cuda" and tensor.device.type == "cpu":
            tensor = tensor.pin_memory()  # from other memory the host copies by itself
        return tensor.to(self.device, non_blocking=True)

    def numerics(self) -> AbstractContextManager[object]:
        """Return the context of passes forward and backward. On the CPU it does nothing.

        On a GPU float32 then means IEEE's float32, or TF32 where that is the precision, and convolutions add up in
        a fixed order. What torch is set to is put back afterwards.
        """
        if self.device.type == "cpu":
            return nullcontext()
        return numerics(WITH_TF32 if self.precision == "tf32" else WITHOUT_TF32)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass in the chosen precision; weights and gradients stay float32."""
        if self.precision in ("float32", "tf32"):
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.precision))


def choose_execution(
    device: torch.device | str | None = None,
    precision: str = "float32",
    compile: bool = False,  # noqa: A002  # torch's own word
) -> Execution:
    """Choose how to run on `device`; None is a CUDA device if there is one, else the CPU.

    Raises ValueError for a device that is not there and for a precision that it does not have.
    """
    chosen = _device(device)
    check_precision(chosen, precision, PRECISIONS)
    return Execution(chosen, cast(Precision, precision), compile=compile)


def _device(device: torch.device | str | None) -> torch.device:
    """Return the device that is meant, a GPU with its number: without one it would follow the thread that asks."""
    available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    has_gpu = len(available) > 1
    if str(device) not in [*available, "None", *["cuda"] * has_gpu]:
        accepted = [*available, "cuda"] if has_gpu else available
        raise ValueError(f"device={str(device)!r}: this machine has none; accepted are {', '.join(accepted)}")
    if device is None and not has_gpu:
        return torch.device("cpu")
    if device is None or str(device) == "cuda":
        # Before CUDA is in use it is the first, and to ask would use it.
        index = torch.cuda.current_device() if torch.cuda.is_initialized() else 0  # type: ignore[no-untyped-call]
        return torch.device("cuda", index)
    return torch.device(device)


def fastest_batch_size(
    run: Callable[[int], object],
    candidates: Iterable[int],
    *,
    num_trials: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Return the candidate at which `run(batch_size)` does the most images a second.

    Climbs from the smallest candidate, running each once to warm up and then `num_trials` times, of which the
    fastest counts; stops where one is clearly slower than the best so far or does not fit into memory.
    """
    try:
        return _climb(run, sorted(candidates), num_trials, clock)
    finally:
        release_memory()  # what the largest candidate took would be kept for nothing


def _climb(
    run: Callable[[int], object], candidates: list[int], num_trials: int, clock: Callable[[], float]
) -> int:
    best_rate, best = 0.0, 0
    for batch_size in candidates:
        try:
            run(batch_size)
            rate = batch_size / min(_seconds(run, batch_size, clock) for _ in range(num_trials))
        except (MemoryError, RuntimeError) as error:
            if best == 0 or not is_out_of_memory(error):
                raise
            break
        if rate < SLOWER * best_rate:
            break
        if rate > best_rate:
            best_rate, best = rate, batch_size
    if best == 0:
        raise ValueError("candidates: there are none; at least one batch size is needed")
    return best


def _seconds(run: Callable[[int], object], batch_size: int, clock: Callable[[], float]) -> float:
    _synchronize()
    start = clock()
    run(batch_size)
    _synchronize()
    return clock() - start


def _synchronize() -> None:
    if torch.cuda.is_available():  # a CUDA call returns before its work is done
        torch.cuda.synchronize()


def half_batch(size: int) -> int:
    """Return half a batch, a multiple of four where that is possible."""
    half = size // 2
    return half - half % BATCH_MULTIPLE if half > BATCH_MULTIPLE else half


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a failure means that memory ran out, on a device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)


def is_device_failure(error: BaseException) -> bool:
    """Return whether a failure is the machine's, and not that of a network that does not fit its images."""
    return is_out_of_memory(error) or any(word in str(error) for word in ("CUDA", "cuDNN", "CUBLAS"))


def release_memory() -> None:
    """Give cached memory back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
