"""Objects that training scripts pickle beside their weights, and what is read in their place.

Torch's restricted reader refuses every class that it does not know. Those below describe a training: settings,
paths, dates, numpy's numbers. None of them is made: another object stands in for each, so that nothing runs that
the file chooses, and their packages need not be installed. Most stand-ins are empty. Those of settings and of
numpy's numbers keep what they hold, since a normaliser's mean and std may be among it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
DATES = ("date", "datetime", "time", "timedelta", "timezone")
TYPES = ("bool", "dict", "float", "frozenset", "int", "list", "slice", "str")
NAMESPACES = ("argparse.Namespace", "types.SimpleNamespace")
ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMBERS = re.compile(r"[fiu][1248]")  # numpy's codes of numbers
LEFT_OUT = (
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in PATHS),
    *(f"datetime.{name}" for name in DATES),
    *(f"builtins.{name}" for name in TYPES),
    "numpy.ndarray",
    "torch.torch_version.TorchVersion",
)
DICTIONARIES = (
    "collections.defaultdict",
    *(f"{package}.utilities.parsing.AttributeDict" for package in ("pytorch_lightning", "lightning.pytorch")),
    *(f"{package}.utilities.data.AttributeDict" for package in ("lightning_fabric", "lightning.fabric")),
)


class LeftOut:
    """An object of a training script that was not read."""

    # The reader makes some objects by `__new__` alone, most by a call.
    def __new__(cls, *_: object) -> "LeftOut":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class StoredNamespace(LeftOut):
    """Stands in for a namespace of settings; `settings` are what it holds, by name."""

    settings: Mapping[Any, Any] = {}

    def __setstate__(self, state: object) -> None:
        self.settings = state if isinstance(state, dict) else {}


class StoredType(LeftOut):
    """Stands in for numpy's type of numbers, such as `f8`."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: object) -> None:
        self.order = str(state[1]) if isinstance(state, tuple) and len(state) > 1 else ""


class StoredArray(LeftOut):
    """Stands in for an array of numpy; `numbers` decodes it."""

    def __setstate__(self, state: object) -> None:
        self.state = state

    def numbers(self) -> list[float]:
        """Return its numbers; ValueError if it holds none, or something else."""
        state = getattr(self, "state", None)
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("no array of numbers")
        return _decoded(state[2], state[4])


class StoredNumber(LeftOut):
    """Stands in for a single number of numpy; `numbers` decodes it."""

    def __init__(self, kind: object = None, content: object = None, *_: object) -> None:
        self.kind, self.content = kind, content

    def numbers(self) -> list[float]:
        """Return the number in a list; ValueError if it is something else."""
        return _decoded(self.kind, self.content)


def _decoded(kind: object, content: object) -> list[float]:
    if not isinstance(kind, StoredType) or not isinstance(content, bytes) or not NUMBERS.fullmatch(kind.code):
        raise ValueError("no numbers")
    order = kind.order if kind.order in "<>" else "="
    return [float(number) for number in np.frombuffer(content, np.dtype(order + kind.code))]


class _Dictionary:
    """Stands in for kinds of dictionary: the reader fills a plain one, and nothing else."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


def stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what is made for each name in a file, as `torch.serialization.safe_globals` takes it."""
    return [
        *((LeftOut, name) for name in LEFT_OUT),
        *((StoredNamespace, name) for name in NAMESPACES),
        (StoredType, "numpy.dtype"),
        *((StoredArray, f"{module}._reconstruct") for module in ARRAYS),
        *((StoredNumber, f"{module}.scalar") for module in ARRAYS),
        *((_Dictionary, name) for name in DICTIONARIES),
    ]
