"""The devices of this machine: which precisions each has, this process's share of a GPU, and what a GPU is."""

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from attrib_core.numerics import IEEE, TF32

VISIBLE = "CUDA_VISIBLE_DEVICES"
ON_A_CPU = ("float32", "bfloat16", "mixed")
# NVIDIA's compute capability from which a GPU has a precision in hardware. `mixed` has quick passes in bfloat16.
FIRST_CAPABILITY = {"tf32": (8, 0), "bfloat16": (8, 0), "mixed": (8, 0)}
DRIVER_VERSION = Path("/proc/driver/nvidia/version")


def check_precision(device: torch.device, precision: str, offered: Sequence[str]) -> None:
    """Raise ValueError for a precision that is not offered, or that the device does not have.

    torch would emulate bfloat16 on an older GPU and float16 on a CPU, slower than float32, and ignore TF32.
    """
    if precision not in offered:
        raise ValueError(f"precision={precision!r}: accepted are {', '.join(offered)}")
    if _has(device, precision):
        return
    accepted = ", ".join(each for each in offered if _has(device, each))
    if device.type == "cpu":
        raise ValueError(f"precision={precision!r}: only on a GPU; accepted on the CPU are {accepted}")
    name = torch.cuda.get_device_name(device)
    raise ValueError(f"precision={precision!r}: not in the hardware of {name}; accepted on it are {accepted}")


def bfloat16_is_slow(precision: str) -> bool:
    """Return True for a precision with passes in bfloat16 if this machine's processor has none, so that torch
    emulates it: float32 is then faster. False where torch does not know.
    """
    if precision not in ("bfloat16", "mixed") or platform.machine() not in ("x86_64", "AMD64"):
        return False
    # As of 2.14 torch says so only by these names.
    known = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    answers = [bool(each()) for each in known if each is not None]
    return bool(answers) and not any(answers)


def _has(device: torch.device, precision: str) -> bool:
    if device.type == "cpu":
        return precision in ON_A_CPU
    if device.type != "cuda":
        return True
    first = FIRST_CAPABILITY.get(precision)
    # To ask a GPU for its capability takes memory of it.
    return first is None or torch.cuda.get_device_capability(device) >= first


def limit_to_share(gpus: float) -> None:
    """Limit this process, before its first use of a GPU, to so many of them: none, or a fraction of one's memory.

    Ray counts what workers ask for. It neither hides a GPU from a worker that asked for none nor caps memory.
    """
    if gpus == 0:
        os.environ[VISIBLE] = ""
    elif gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpus)


@contextmanager
def without_gpus() -> Iterator[None]:
    """Hide the GPUs from this process, and from those that it starts, for the block."""
    before = os.environ.get(VISIBLE)
    limit_to_share(0)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def describe_device(device: torch.device, precision: str) -> dict[str, str]:
    """Return what decides the last bits of a result on the device: the kind of processor and the libraries."""
    if device.type == "cpu":
        return {"device": "cpu", "name": torch.backends.cpu.get_cpu_capability(), "precision": precision}
    float32 = TF32 if precision == "tf32" else IEEE
    described = {"device": device.type, "precision": precision, "matmul": float32, "convolution": float32}
    return described | (_describe_gpu(device) if device.type == "cuda" else {})


def _describe_gpu(device: torch.device) -> dict[str, str]:
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "memory": f"{found.total_memory} bytes",
        "driver": _driver_version(),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def _driver_version() -> str:
    """Return the version of the GPU's driver, which torch does not tell."""
    try:
        first, *_ = DRIVER_VERSION.read_text().splitlines()
    except (OSError, ValueError):
        return "unknown"
    # NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
    numbers = [word for word in first.split() if word[0].isdigit() and "." in word]
    return numbers[0] if numbers else "unknown"
