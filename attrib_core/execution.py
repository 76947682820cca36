"""How a model runs fast: device, memory format, precision, compilation, and the size of a batch.

The one place that decides it. Nothing here sets a global flag of torch.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from attrib_core.pooling import with_sliced_pooling

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# A CPU's convolutions add up in another order for one to three images than for more, and for sixteen or more. The
# differences are roundings, but a hundred steps amplify them; whole multiples of four keep an image bit for bit
# the same, alone and among others, as long as the number of threads is.
BATCH_MULTIPLE = 4
SLOWER = 0.95  # a candidate below this share of the best rate ends the climb

Module = TypeVar("Module", bound=nn.Module)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Execution:
    """Where and how a network runs."""

    device: torch.device
    precision: Precision = "float32"
    channels_last: bool = True
    compile: bool = False

    def prepare(self, module: Module) -> Module:
        """The module itself, moved to the device and memory format, and compiled if asked to."""
        module.to(device=self.device)
        if self.device.type == "cpu":
            with_sliced_pooling(module)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        if self.compile:
            module.compile()
        return module

    def images(self, images: Tensor) -> Tensor:
        """Images `[B, C, H, W]` on the device, in the memory format."""
        if self.channels_last:
            return images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        return images.to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass in the chosen precision; weights and gradients stay float32."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.precision))


def padded(images: Tensor) -> Tensor:
    """Images `[B, C, H, W]`, the last one repeated up to a multiple of four: see `BATCH_MULTIPLE`."""
    missing = -len(images) % BATCH_MULTIPLE
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing else images


def choose_execution(
    device: torch.device | str | None = None,
    precision: str = "float32",
    compile: bool = False,  # noqa: A002  # torch's own word
) -> Execution:
    """How to run on `device`, or on a CUDA device if there is one and else the CPU.

    Raises ValueError for a device that is not there and for a precision that it does not have.
    """
    chosen = _device(device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: accepted are {', '.join(PRECISIONS)}")
    if precision == "float16" and chosen.type == "cpu":
        # torch has it, at a twelfth of float32's speed.
        raise ValueError("precision='float16': only on a GPU; accepted on the CPU are float32, bfloat16")
    return Execution(chosen, precision, compile=compile)


def _device(device: torch.device | str | None) -> torch.device:
    available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if device is None:
        return torch.device("cuda" if len(available) > 1 else "cpu")
    accepted = [*available, "cuda"] if len(available) > 1 else available
    if str(device) not in accepted:
        raise ValueError(f"device={str(device)!r}: this machine has none; accepted are {', '.join(accepted)}")
    return torch.device(device)


def fastest_batch_size(
    run: Callable[[int], object],
    candidates: Iterable[int],
    *,
    num_trials: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """The candidate at which `run(batch_size)` does the most images a second.

    Climbs from the smallest candidate, running each once to warm up and then `num_trials` times, of which the
    fastest counts; stops where one is clearly slower than the best so far or does not fit into memory.
    """
    best_rate, best = 0.0, 0
    for batch_size in sorted(candidates):
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


@dataclass(frozen=True)
class Batched(Generic[Result]):
    """The results of `run_batches`, one a batch, and the batch size that it ended with."""

    results: list[Result]
    batch_size: int


def run_batches(
    items: Sequence[Item], batch_size: int, run: Callable[[Sequence[Item]], Result]
) -> Batched[Result]:
    """Runs the items in order, batch by batch; halves the batch, for good, where it does not fit into memory.

    `run` may see the same items again after a failure. Raises the failure where a single item does not fit.
    """
    results: list[Result] = []
    start = 0
    while start < len(items):
        batch = items[start : start + batch_size]
        try:
            results.append(run(batch))
            start += len(batch)
            continue
        except (MemoryError, RuntimeError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        # Outside the handler: the error's traceback would keep the failed batch's tensors alive.
        batch_size = _half(len(batch))
        _release_memory()
    return Batched(results, batch_size)


def _half(size: int) -> int:
    """Half a batch, a multiple of four where that is possible: see `BATCH_MULTIPLE`."""
    half = size // 2
    return half - half % BATCH_MULTIPLE if half > BATCH_MULTIPLE else half


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failure says that memory ran out, on a device or on the host."""
    # torch's CPU allocator has no error class of its own.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _release_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
