"""The arithmetic of float32 on a GPU, as torch is set to do it: read, set for a pass, and put back.

By default torch lets convolutions round their inputs to TF32, which keeps 10 of float32's 23 bits of fraction, and
take algorithms that add up in an order that varies. It has two kinds of settings for TF32: one a library
(`cudnn.allow_tf32`, `float32_matmul_precision`) and one an operation (`fp32_precision`). Where they disagree, it
refuses to say what the first are, and `torch.backends.cudnn.flags` fails. So both kinds are set here.

The settings belong to the whole process: passes of two threads that want different ones must not overlap.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import torch

# `Any`: type checkers see no settings that torch makes when it is imported.
cuda: Any = torch.backends.cuda
cudnn: Any = torch.backends.cudnn
mkldnn: Any = torch.backends.mkldnn

IEEE, TF32 = "ieee", "tf32"


@dataclass(frozen=True, eq=False)
class Numerics:
    """What the settings are. Precisions are torch's words: ieee, tf32, bf16, and none, which is IEEE too.

    Two are equal if passes compute the same: `torch.backends.cudnn.flags` leaves none where it has found IEEE.
    """

    convolution: str
    recurrent: str
    product: str
    cpu_product: str  # set by `float32_matmul_precision` too
    allow_tf32: bool
    matmul_precision: str
    deterministic: bool
    benchmark: bool

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Numerics):
            return NotImplemented
        return [_effective(value) for value in astuple(self)] == [_effective(each) for each in astuple(other)]

    __hash__ = None  # type: ignore[assignment]


def _effective(value: object) -> object:
    return IEEE if value == "none" else value


WITHOUT_TF32 = Numerics(IEEE, IEEE, IEEE, IEEE, False, "highest", deterministic=True, benchmark=False)
WITH_TF32 = Numerics(TF32, TF32, TF32, TF32, True, "high", deterministic=True, benchmark=False)


@contextmanager
def numerics(wanted: Numerics) -> Iterator[None]:
    """Set `wanted` for the block, and put back what was set before, also after an error.

    What torch calls its default becomes an explicit TF32, as after `torch.backends.cudnn.flags`: torch has no way
    to set its default again.
    """
    before = current_numerics()
    if before == wanted:
        yield
        return
    try:
        set_numerics(wanted)
        yield
    finally:
        set_numerics(before)


def current_numerics() -> Numerics:
    """Return what torch is set to."""
    by_operation = (
        cudnn.conv.fp32_precision,
        cudnn.rnn.fp32_precision,
        cuda.matmul.fp32_precision,
        mkldnn.matmul.fp32_precision,
    )
    try:
        by_library = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        by_library = _hidden_settings(by_operation)
    return Numerics(*by_operation, *by_library, cudnn.deterministic, cudnn.benchmark)


def set_numerics(wanted: Numerics) -> None:
    """Set what `current_numerics` has returned."""
    cudnn.allow_tf32 = wanted.allow_tf32
    torch.set_float32_matmul_precision(wanted.matmul_precision)
    _set_operations(astuple(wanted)[:4])  # last: the two lines above write them as well
    cudnn.deterministic, cudnn.benchmark = wanted.deterministic, wanted.benchmark


def _hidden_settings(by_operation: tuple[str, str, str, str]) -> tuple[bool, str]:
    """Return the settings of the libraries where those of the operations disagree with them."""
    _set_operations((IEEE, IEEE, IEEE, IEEE))
    try:
        allow_tf32 = cudnn.allow_tf32
    except RuntimeError:  # it disagrees with IEEE
        allow_tf32 = True
    # With IEEE for both products torch says whatever this is.
    matmul_precision = torch.get_float32_matmul_precision()
    _set_operations(by_operation)
    return allow_tf32, matmul_precision


def _set_operations(precisions: tuple[str, ...]) -> None:
    """Set what each operation has; one that has what its backend has follows its backend again."""
    gpu, cpu = cudnn.fp32_precision, mkldnn.fp32_precision
    convolution, recurrent, product, cpu_product = precisions
    cudnn.conv.fp32_precision = "none" if convolution == gpu else convolution
    cudnn.rnn.fp32_precision = "none" if recurrent == gpu else recurrent
    cuda.matmul.fp32_precision = "none" if product == gpu else product
    mkldnn.matmul.fp32_precision = "none" if cpu_product == cpu else cpu_product


@contextmanager
def gradients_enabled() -> Iterator[None]:
    """Record for gradients within, also where the caller works under `no_grad` or in inference mode."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
