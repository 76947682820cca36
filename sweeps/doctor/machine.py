"""The machine: its processor, memory, disk and GPUs."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from attrib_core.devices import describe_device
from sweeps.doctor.findings import Finding

GIGABYTE = 1e9
# A worker with the default model and its judges takes about this much; below, two of them do not fit.
LITTLE_MEMORY = 4e9
LITTLE_DISK = 2e9


def machine(output: str) -> Iterator[Finding]:
    """Yield what the machine has, and how much room there is where results would be written."""
    yield Finding("ok", "system", f"{platform.platform()}, Python {platform.python_version()}")
    yield Finding("ok", "processor", f"{len(os.sched_getaffinity(0))} cores for this process")
    yield _memory()
    if "://" not in output:
        yield _disk(Path(output))
    yield from gpus()


def _memory() -> Finding:
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = os.sysconf("SC_PHYS_PAGES") * page, _available_memory()
    text = f"{free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free"
    if free < LITTLE_MEMORY:
        return Finding("note", "memory", f"{text}: use --num-workers 1")
    return Finding("ok", "memory", text)


def _available_memory() -> float:
    """Return the bytes that programs can still have, without those of files that can be dropped."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024.0


def _disk(folder: Path) -> Finding:
    # Path.exists raises where it may not look, or the name is too long.
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))  # noqa: PTH110
    free = shutil.disk_usage(there).free
    text = f"{free / GIGABYTE:.1f} GB free at {there}"
    return Finding("note" if free < LITTLE_DISK else "ok", "disk", text)


def gpus() -> Iterator[Finding]:
    """Yield each GPU; without one, what torch was built for says whether a driver or another torch is missing."""
    if not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs alone"
        yield Finding("note", "GPU", f"none: sweeps use the CPU; this torch is built for {built}")
        return
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        described = ", ".join(f"{key} {value}" for key, value in describe_device(device, "float32").items())
        free, total = torch.cuda.mem_get_info(device)
        yield Finding(
            "ok", f"GPU {index}", f"{described}; {free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free"
        )
