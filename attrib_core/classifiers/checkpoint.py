"""Weights as plain arrays: a driver reads them once, and all its workers share them without a copy."""

import hashlib
import json
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attrib_core.classifiers.identity import Labels, Preprocessing
from attrib_core.classifiers.registry import Files, StateDict

NUM_NAMED = 3  # tensors that a message names before it counts the rest


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model's weights and what is needed to build the model from them; picklable."""

    name: str  # the reference given to `read_checkpoint`, in its canonical text
    weights: str  # where they came from: the named weights, a file, or "untrained"
    weights_name: str | None  # the named weights whose network applies; None: the default
    num_classes: int
    preprocessing: Preprocessing
    labels: Labels
    state: dict[str, NDArray[np.generic]]
    digest: str  # SHA-256 of the state, the same whatever file it was read from
    notes: tuple[str, ...] = ()  # lines for the user to read before any work starts
    definition: str | None = (
        None  # which code and configuration build the network, where they are a user's choice
    )
    files: Files = field(default_factory=dict)  # from which the network is built, beside code
    # Of an ensemble, which has no state of its own, and whose name joins those of its members by `+`.
    members: tuple["Checkpoint", ...] = ()
    combination: Literal["logits", "probabilities", "losses"] = "logits"


def state_digest(state: Mapping[str, NDArray[np.generic]]) -> str:
    """Return the SHA-256, as hexadecimal, of the sorted names, the dtypes, the shapes and the bytes."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = np.asarray(state[name], order="C")
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.data)
    return digest.hexdigest()


def to_arrays(network: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Return the network's state dict as contiguous arrays."""
    state = network.state_dict()
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in state.items()}


def assign_arrays(network: nn.Module, state: Mapping[str, NDArray[np.generic]]) -> None:
    """Make the arrays the network's weights without a copy, even if they are read-only."""
    with warnings.catch_warnings():
        # Ray's arrays are read-only. Nothing writes to a classifier's weights: they are frozen, and batch
        # norm never runs in train mode.
        warnings.filterwarnings(
            "ignore", message="The given NumPy array is not writable", category=UserWarning
        )
        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    network.load_state_dict(_in_current_format(tensors, network), assign=True)


def load_checked(network: nn.Module, state: StateDict) -> None:
    """Make the tensors the network's weights, converted to the network's dtypes.

    Networks convert older formats of their state dicts themselves. Raises ValueError naming the first few tensors
    that are missing, unexpected, of another shape or not finite.
    """
    reference = network.state_dict()
    if mismatched := [
        f"{name} {list(state[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in reference.items()
        if name in state and state[name].shape != tensor.shape
    ]:
        raise ValueError(f"another architecture: {_few('of another shape', mismatched)}")
    if coded := [
        f"{name} {tensor.dtype}"
        for name, tensor in state.items()
        if name in reference and reference[name].is_floating_point() and not tensor.is_floating_point()
    ]:
        raise ValueError(
            f"{_few('no floating-point numbers in', coded)}; accepted are weights that are not quantised"
        )
    cast = {
        name: tensor.to(reference[name].dtype) if name in reference else tensor
        for name, tensor in state.items()
    }
    up_to_date = (
        _in_current_format(cast, network) if cast.keys() == reference.keys() else _with_metadata(cast, state)
    )
    missing, unexpected = network.load_state_dict(up_to_date, strict=False, assign=True)
    if missing or unexpected:
        reasons = [
            _few("missing", [f"{name} {list(reference[name].shape)}" for name in missing]),
            _few("unexpected", [f"{name} {list(state[name].shape)}" for name in unexpected if name in state]),
        ]
        raise ValueError(f"another architecture: {'; '.join(filter(None, reasons))}")
    _check_finite(network.state_dict(), reference)


def _check_finite(state: StateDict, reference: StateDict) -> None:
    """Raise ValueError for NaN and infinite values, except where the network's own are: a mask may hold -inf."""
    broken = [
        name
        for name, tensor in state.items()
        if not bool(tensor.isfinite().all()) and bool(reference[name].isfinite().all())
    ]
    if broken:
        raise ValueError(_few("NaN or infinite values in", broken))


def _few(what: str, names: list[str]) -> str:
    rest = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return f"{what} {', '.join(names[:NUM_NAMED])}{rest}" if names else ""


def _in_current_format(state: StateDict, network: nn.Module) -> "OrderedDict[str, Tensor]":
    """Mark a state dict as current; some modules convert one without a version as if it were old."""
    return _with_metadata(state, network.state_dict())


def _with_metadata(state: StateDict, source: StateDict) -> "OrderedDict[str, Tensor]":
    marked = OrderedDict(state)
    if (metadata := getattr(source, "_metadata", None)) is not None:
        marked._metadata = metadata  # type: ignore[attr-defined]  # where torch itself keeps it
    return marked
