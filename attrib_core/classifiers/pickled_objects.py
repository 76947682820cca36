"""Objects that training scripts pickle beside their weights, and what is read in their place.

Torch's restricted reader refuses every class that it does not know. Those below describe a training: settings,
paths, dates, numpy's numbers. None of them is made: an empty object stands in for each, so that nothing runs that
the file chooses, and their packages need not be installed.
"""

from collections.abc import Callable
from typing import Any

PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
DATES = ("date", "datetime", "time", "timedelta", "timezone")
TYPES = ("bool", "dict", "float", "frozenset", "int", "list", "slice", "str")
LEFT_OUT = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in PATHS),
    *(f"datetime.{name}" for name in DATES),
    *(f"builtins.{name}" for name in TYPES),
    *("numpy.dtype", "numpy.ndarray"),
    *(
        f"numpy.{module}.multiarray.{name}"
        for module in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
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


class _Dictionary:
    """Stands in for kinds of dictionary: the reader fills a plain one, and nothing else."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


def stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what is made for each name in a file, as `torch.serialization.safe_globals` takes it."""
    return [*((LeftOut, name) for name in LEFT_OUT), *((_Dictionary, name) for name in DICTIONARIES)]
