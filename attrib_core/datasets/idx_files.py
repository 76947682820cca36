"""The IDX format of MNIST and its successors: a big-endian header, then bytes."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTES = 0x08
REMEDY = "delete it and fetch it again"


def find_file(folder: Path, name: str) -> Path | None:
    """Return the file of that name, with or without .gz; None if the folder has neither."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_bytes(path: Path) -> bytes:
    """Return a file's content, decompressed; ValueError naming the file if it is damaged or unreadable."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise ValueError(f"{path}: truncated or damaged ({error}); {REMEDY}") from error


def parse_idx(content: bytes, num_dimensions: int, path: Path) -> NDArray[np.uint8]:
    """Return the array in an IDX file of bytes, read-only; ValueError naming the file if it is not one."""
    magic = bytes((0, 0, UNSIGNED_BYTES, num_dimensions))
    header_size = 4 + 4 * num_dimensions
    if content[:4] != magic or len(content) < header_size:
        raise ValueError(
            f"{path}: begins with {content[:4].hex()}, an IDX file of {num_dimensions} dimensions "
            f"with {magic.hex()}; {REMEDY}"
        )
    shape = struct.unpack_from(f">{num_dimensions}I", content, 4)
    expected = header_size + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise ValueError(f"{path}: {len(content)} bytes where its header promises {expected}; {REMEDY}")
    return np.frombuffer(content, dtype=np.uint8, offset=header_size).reshape(shape)
