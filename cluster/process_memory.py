"""Settings of the C library's allocator in a worker's process."""

import ctypes
import sys

# glibc's <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGEST_MMAP_THRESHOLD = 32 * 2**20
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Make the process keep large blocks that it has freed; return whether the C library agreed.

    A forward pass allocates the same blocks of a few megabytes over and over. By default glibc returns each one
    to the kernel, which zeroes every page before it hands it out again. On a CPU that takes a fifth of a small
    network's time. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD), (M_TRIM_THRESHOLD, NEVER), (M_ARENA_MAX, 1))
    return all(mallopt(name, value) == 1 for name, value in settings)
