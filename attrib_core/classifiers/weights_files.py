"""Reading users' weights files: safetensors, and torch files without running the code in them."""

import hashlib
import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

# Keys under which training scripts store the weights.
NESTS = ("state_dict", "model_state_dict", "model", "module")
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
PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights_file(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file, in the file's order.

    Finds it under a training script's key and removes the prefixes of wrappers such as DataParallel. Raises
    ValueError naming the file and the reason: missing, truncated, a pickle with code, no state dict.
    """
    if not path.is_file():
        raise ValueError(f"weights={str(path)!r}: no such file")
    try:
        content = _read(path)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"weights={str(path)!r}: refused, since it holds Python objects that could run code; "
            "save `model.state_dict()` instead"
        ) from error
    except DAMAGED as error:
        raise ValueError(
            f"weights={str(path)!r}: truncated, or neither a safetensors nor a torch file "
            f"({_first_line(error)})"
        ) from error
    return _without_prefixes(_state_dict(content, path))


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(9)
    # Suffixes such as ".bin" do not say the format. A safetensors file begins with the length of its JSON header
    # (8 bytes), then the header.
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if not start.startswith(TORCH_STARTS):
        raise ValueError(f"it begins with {start!r}")
    with warnings.catch_warnings():
        # A pickle of another protocol is either read or refused with an error, so a warning adds nothing.
        warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping) and not _is_state_dict(content):
        inner = [content[nest] for nest in NESTS if isinstance(content.get(nest), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping) or not _is_state_dict(content):
        found = (
            f"a mapping of {list(content)[:5]}" if isinstance(content, Mapping) else type(content).__name__
        )
        raise ValueError(f"weights={str(path)!r}: holds no state dict of tensors but {found}")
    return content  # type: ignore[return-value]  # not copied: an OrderedDict carries the format's version


def _is_state_dict(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((each for each in PREFIXES if all(name.startswith(each) for name in state)), None):
        torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, prefix)
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
