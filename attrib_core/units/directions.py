"""Directions in a layer's channels, `[D, C]`, from safetensors files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load_file

from attrib_core.classifiers.weights_files import split_key
from attrib_core.errors import in_one_line

SUFFIX = ".safetensors"
Directions = Mapping[str, NDArray[np.float32]]  # [D, C] each, by `FILE#key`


def read_directions(where: str, text: str) -> tuple[str, NDArray[np.float32]]:
    """Return the name `FILE#key` and the directions `[D, C]` of `FILE.safetensors` or `FILE.safetensors#key`.

    The name has the file's own name, without its folder. Raises ValueError for what holds no such tensor.
    """
    file, key = split_key(text)
    tensors = _read(where, file)
    if key is None and len(tensors) == 1:
        key = next(iter(tensors))
    if key not in tensors:
        wrong = (
            f"it has several tensors; accepted is {file.name}#key" if key is None else f"no tensor {key!r}"
        )
        raise ValueError(f"{where}: {file}: {wrong}, of {', '.join(sorted(tensors)[:20])}")
    return f"{file.name}#{key}", as_directions(f"{where}: {file}#{key}", np.asarray(tensors[key]))


def as_directions(where: str, values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return directions `[D, C]` of values `[D, C]` or `[C]`. Raises ValueError for other values."""
    found = np.atleast_2d(values)
    if found.ndim != 2 or not len(found) or not np.issubdtype(found.dtype, np.floating):
        raise ValueError(f"{where} is {found.dtype} {list(found.shape)}; accepted are floats [D, C] or [C]")
    if not np.isfinite(found).all():
        raise ValueError(f"{where} holds NaN or infinite values; accepted are finite ones")
    return np.ascontiguousarray(found, dtype=np.float32)


def digest(directions: NDArray[np.float32]) -> str:
    """Return sixteen hexadecimal digits that identify the directions."""
    content = str(directions.shape).encode() + np.ascontiguousarray(directions).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def _read(where: str, file: Path) -> dict[str, NDArray[np.generic]]:
    if not file.is_file():
        raise ValueError(
            f"{where}: {str(file)!r}: no such file; accepted are channels, such as 0-7, or a file"
        )
    try:
        tensors: dict[str, NDArray[np.generic]] = load_file(file)
    except (safetensors.SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{where}: {file}: no safetensors file of numbers ({in_one_line(error)})") from None
    if not tensors:
        raise ValueError(f"{where}: {file} holds no tensor; accepted are directions [D, C]")
    return tensors
