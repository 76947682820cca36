"""Reading users' weights files: safetensors, and torch files without running the code in them."""

import hashlib
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from attrib_core.classifiers.checkpoint_layouts import StoredWeights, find_weights
from attrib_core.classifiers.pickled_objects import stand_ins
from attrib_core.errors import first_line

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pth.tar")
# Files that trainers store beside the weights, under the same suffixes.
TRAINERS_OWN = re.compile(r"(optimizer|scheduler|scaler|rng_state\w*|random_states\w*|training_args)\..*")
NUM_NAMED = 5  # files that a message names
TORCH_STARTS = (b"PK", b"\x80")  # a zip archive; a pickle, which torch wrote until 1.5
# What the two readers raise for truncated files and for other formats.
DAMAGED = (
    safetensors.SafetensorError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_files(folder: Path) -> list[Path]:
    """Return the weights files in a folder, by name, with numbers in their order: `epoch_2` before `epoch_10`."""
    files = (file for file in folder.glob("*") if file.name.endswith(SUFFIXES) and file.is_file())
    return sorted((file for file in files if not TRAINERS_OWN.match(file.name)), key=_natural_order)


def weights_name(file: Path) -> str:
    """Return a weights file's name without its suffix."""
    return file.name.removesuffix(next(suffix for suffix in SUFFIXES if file.name.endswith(suffix)))


def split_key(source: str) -> tuple[Path, str | None]:
    """Return the file of `FILE` or `FILE#key`, and the key; a file's own name may hold the sign."""
    path, separator, key = source.rpartition("#")
    if separator and not Path(source).exists() and Path(path).is_file():
        return Path(path), key
    return Path(source), None


def read_weights_file(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file, in the file's order; ValueError as of `read_weights`."""
    return read_weights(path).state


def read_weights(
    path: Path, own: Mapping[str, Tensor] | None = None, key: str | None = None
) -> StoredWeights:
    """Return the weights in a file for a network with the state dict `own`; `key` is the path that the user chose.

    Raises ValueError naming the file and the reason: missing, truncated, a pickle with code, no weights, several.
    """
    content = _read_checked(path)
    try:
        stored = find_weights(content, own, key)
    except ValueError as error:
        raise ValueError(f"weights={str(path)!r}: {error}") from error
    return replace(stored, notes=(*stored.notes, *_rounding(stored.state)))


def _rounding(state: Mapping[str, Tensor]) -> list[str]:
    """Return a note on numbers of half precision or less."""
    coarse = {
        str(tensor.dtype) for tensor in state.values() if tensor.is_floating_point() and tensor.itemsize < 4
    }
    names = ", ".join(sorted(dtype.removeprefix("torch.") for dtype in coarse))
    return [f"stored as {names}: results carry the rounding of the weights"] if coarse else []


def _read_checked(path: Path) -> Any:
    if path.is_dir():
        raise ValueError(f"weights={str(path)!r}: is a folder; {_files_in(path)}")
    if not path.is_file():
        raise ValueError(f"weights={str(path)!r}: no such file")
    try:
        return _read(path)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"weights={str(path)!r}: refused, since it holds Python objects that could run code"
            f"{_refused_class(error)}; save `model.state_dict()` instead"
        ) from error
    except DAMAGED as error:
        raise ValueError(
            f"weights={str(path)!r}: truncated, or neither a safetensors nor a torch file "
            f"({first_line(error)})"
        ) from error


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(9)
    # Suffixes such as ".bin" do not say the format. A safetensors file begins with the length of its JSON header
    # (8 bytes), then the header.
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if not start.startswith(TORCH_STARTS):
        raise ValueError(f"it begins with {start!r}")
    with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins()):
        # A pickle of another protocol is either read or refused with an error, so a warning adds nothing.
        warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _files_in(folder: Path) -> str:
    names = [file.name for file in weights_files(folder)]
    if not names:
        return f"accepted is a file; it holds none of {', '.join(SUFFIXES)}"
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return f"accepted is a file, such as its {', '.join(names[:NUM_NAMED])}{more}"


def _refused_class(error: pickle.UnpicklingError) -> str:
    found = re.search(r"GLOBAL (\S+)", str(error))
    return f" ({found[1]})" if found else ""


def _natural_order(file: Path) -> list[tuple[int, str]]:
    """Return a key that sorts the numbers in names as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]
