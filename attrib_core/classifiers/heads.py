"""Heads that a training script put in the place of an architecture's own, as names and shapes in a file show them.

A file holds those layers of an `nn.Sequential` that have weights, and their positions. A position before the first
one is taken for a dropout, which does nothing here. A position between two of them may be an activation or a
dropout; the file does not say which, so such a head is refused.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Shaped = Mapping[str, Tensor] | Mapping[str, NDArray[np.generic]]
POSITION = re.compile(r"(\d+)\.(\w+)")
INACTIVE = (nn.Dropout, nn.Identity)


def set_heads(heads: Sequence[str], network: nn.Module, state: Shaped) -> tuple[str, ...]:
    """Give the network the heads of the state dict where they are not its own, and return notes on them.

    `heads` are the names of the network's last layers. Raises ValueError for a head that the file does not show.
    """
    notes = []
    for head in heads:
        if (found := _stored_head(head, network, state)) is None:
            continue
        place, stored = found
        network.set_submodule(place, stored)
        if isinstance(stored, nn.Sequential) and isinstance(stored[0], nn.Identity):
            notes.append(f"{place}.0 has no weights in the file: taken for a dropout")
    return tuple(notes)


def num_outputs(heads: Sequence[str], network: nn.Module, state: Shaped) -> int:
    """Return the number of classes of the heads in the state dict, or of the network's where it has none.

    Raises ValueError for two heads of different numbers of classes.
    """
    counts = {head: _rows(head, network, state) for head in heads}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{head} {count}" for head, count in counts.items())
        raise ValueError(f"heads of different numbers of classes, {found}; accepted is one number")
    return next(iter(counts.values()))


def last_layers(module: nn.Module, name: str = "") -> tuple[str, ...]:
    """Return the name of the last linear or convolutional layer in a module called `name`, if there is one."""
    layers = [
        each for each, layer in module.named_modules(prefix=name) if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    return tuple(layers[-1:])


def _rows(head: str, network: nn.Module, state: Shaped) -> int:
    found = _stored_head(head, network, state)
    if found is not None:
        return [layer.out_features for layer in found[1].modules() if isinstance(layer, nn.Linear)][-1]
    own = network.get_submodule(head).weight
    assert isinstance(own, Tensor)
    return int(state.get(f"{head}.weight", own).shape[0])


def _stored_head(head: str, network: nn.Module, state: Shaped) -> tuple[str, nn.Module] | None:
    """Return the place of a head that is not the network's own, and its layers."""
    own = network.get_submodule(head)
    if not isinstance(own, nn.Linear):
        return None
    for place in (*_dropout_and_linear(head, network), head):
        shapes = {
            name.removeprefix(f"{place}."): tuple(tensor.shape)
            for name, tensor in state.items()
            if name.startswith(f"{place}.")
        }
        if shapes.keys() == network.get_submodule(place).state_dict().keys():
            return None
        if shapes.keys() <= {"weight", "bias"} and len(shapes.get("weight", ())) == 2:
            return place, _linear(place, shapes, own.in_features)
        if shapes and all(map(POSITION.fullmatch, shapes)):
            return place, _sequential(place, shapes, own.in_features)
    return None


def _dropout_and_linear(head: str, network: nn.Module) -> tuple[str, ...]:
    """Return the name of the Sequential around a head that has dropouts beside it and nothing else."""
    parent = head.rpartition(".")[0]
    module = network.get_submodule(parent)
    others = [each for each in module.children() if each is not network.get_submodule(head)]
    is_simple = (
        parent and isinstance(module, nn.Sequential) and all(isinstance(each, INACTIVE) for each in others)
    )
    return (parent,) if is_simple else ()


def _sequential(place: str, shapes: Mapping[str, tuple[int, ...]], width: int) -> nn.Sequential:
    by_position: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        number, _, own_name = name.partition(".")
        by_position.setdefault(int(number), {})[own_name] = shape
    first, last = min(by_position), max(by_position)
    if sorted(by_position) != list(range(first, last + 1)):
        raise ValueError(_refusal(place, shapes, "which layers lie between them is not in the file"))
    layers: list[nn.Module] = [nn.Identity() for _ in range(first)]
    for position in range(first, last + 1):
        layers.append(_layer(place, by_position[position], shapes, width))
        width = getattr(layers[-1], "out_features", width)
    if not any(isinstance(layer, nn.Linear) for layer in layers):
        raise ValueError(_refusal(place, shapes, "none of them is a linear layer"))
    return nn.Sequential(*layers)


def _layer(
    place: str, shapes: Mapping[str, tuple[int, ...]], every: Mapping[str, tuple[int, ...]], width: int
) -> nn.Module:
    if shapes.get("running_mean") == (width,):
        return nn.BatchNorm1d(width, affine="weight" in shapes)
    if shapes.keys() <= {"weight", "bias"} and len(shapes.get("weight", ())) == 2:
        return _linear(place, shapes, width)
    raise ValueError(
        _refusal(place, every, "not all of them are linear layers or batch norms that fit together")
    )


def _linear(place: str, shapes: Mapping[str, tuple[int, ...]], width: int) -> nn.Linear:
    rows, columns = shapes["weight"]
    if columns != width:
        raise ValueError(
            _refusal(place, shapes, f"a linear layer takes {columns} features instead of {width}")
        )
    return nn.Linear(columns, rows, bias="bias" in shapes)


def _refusal(place: str, shapes: Mapping[str, tuple[int, ...]], reason: str) -> str:
    weights = ", ".join(f"{place}.{name} {list(shape)}" for name, shape in shapes.items() if "weight" in name)
    return (
        f"another architecture: its head is {weights}: {reason}; accepted is one linear layer, or in Python the "
        "network itself (Classifier.wrap)"
    )
