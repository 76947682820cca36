"""Networks whose last layers have random weights: model-parameter randomisation (Adebayo et al. 2018,
arXiv:1810.03292).

A layer is a module with weights of two or more dimensions, such as a convolution or a linear map, and with it what
normalises or scales its output. Layers are counted from the output, in the order in which an image passes through
them. Their weights become those of the network as its authors initialise it: with all layers re-drawn it is the
untrained one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from attrib_core.classifiers.checkpoint import Checkpoint, state_digest
from attrib_core.classifiers.classifier import Classifier
from attrib_core.classifiers.ensembles import ensemble_checkpoint
from attrib_core.classifiers.loading import build_classifier, initial_state

State = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class Randomization:
    """A checkpoint, the weights that its network would begin with, and the tensors of each layer."""

    checkpoint: Checkpoint
    initial: State
    layers: tuple[tuple[str, ...], ...]  # names of tensors, the layer next to the output first
    members: tuple["Randomization", ...] = ()

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Return what is needed to re-draw weights of a checkpoint; of an ensemble, of each member.

        Raises ValueError for a network that cannot be initialised anew.
        """
        if checkpoint.members:
            members = tuple(cls.of(member) for member in checkpoint.members)
            return cls(checkpoint=checkpoint, initial={}, layers=(), members=members)
        initial = initial_state(checkpoint)
        _check(checkpoint, initial)
        classifier = build_classifier(checkpoint)
        return cls(checkpoint=checkpoint, initial=initial, layers=layers_from_output(classifier))

    @property
    def num_layers(self) -> int:
        """The layers that can be re-drawn; of an ensemble, those of its deepest member."""
        return max((member.num_layers for member in self.members), default=len(self.layers))

    def redrawn(self, num_layers: int, weights: str) -> Checkpoint:
        """Return the checkpoint with its last layers re-drawn, whose `weights` are called so."""
        if self.members:
            members = [each.redrawn(min(num_layers, each.num_layers), weights) for each in self.members]
            return ensemble_checkpoint(members, self.checkpoint.combination)
        if num_layers == len(self.layers):  # tensors that no layer has, too
            state = self.initial
        else:
            new = {name for layer in self.layers[:num_layers] for name in layer}
            trained = self.checkpoint.state
            state = {name: (self.initial if name in new else trained)[name] for name in trained}
        return replace(self.checkpoint, weights=weights, state=state, digest=state_digest(state), notes=())


def layers_from_output(classifier: Classifier) -> tuple[tuple[str, ...], ...]:
    """Return the names of the network's tensors by layer, the one next to the output first."""
    network = classifier.network
    order = _order(classifier)
    layers: list[list[str]] = []
    before: list[str] = []  # what normalises the images before any layer
    for name in order:
        own = _own_tensors(network, name)
        if _is_layer(network.get_submodule(name)):
            layers.append([*before, *own])
            before = []
        elif layers:
            layers[-1] += own
        else:
            before += own
    return tuple(tuple(layer) for layer in reversed(layers))


def _order(classifier: Classifier) -> list[str]:
    """Return the names of modules that own tensors, in the order in which an image reaches them for the last time.

    A module that runs as a part of its parent stands where the parent does.
    """
    network, reached = classifier.network, dict[str, None]()
    names = [name for name, _ in network.named_modules() if "parametrizations" not in name.split(".")]
    owners = [name for name in names if _own_tensors(network, name)]
    size = classifier.image_size
    with _recording(network, reached), torch.inference_mode():
        classifier(torch.full((1, classifier.channels, size, size), 0.5))
    places = {name: place for place, name in enumerate(reached)}

    def place(name: str) -> tuple[int, int]:
        ancestor = name
        while ancestor not in places and ancestor:
            ancestor = ancestor.rpartition(".")[0]
        return places.get(ancestor, -1), owners.index(name)

    return sorted(owners, key=place)


@contextmanager
def _recording(network: nn.Module, reached: dict[str, None]) -> Iterator[None]:
    def record(name: str) -> None:
        reached.pop(name, None)
        reached[name] = None

    handles = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: record(name))
        for name, module in network.named_modules()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _own_tensors(network: nn.Module, name: str) -> list[str]:
    """Return the names, in the state dict, of the tensors that a module has besides those of its parts.

    What a parametrization such as weight_norm computes a weight from is the module's own.
    """
    module = network.get_submodule(name)
    own = [*dict(module.named_parameters(recurse=False)), *dict(module.named_buffers(recurse=False))]
    own = [each for each in own if each not in module._non_persistent_buffers_set]
    if is_parametrized(module):
        own += [f"parametrizations.{each}" for each in module.parametrizations.state_dict()]  # type: ignore[union-attr]  # a ModuleDict
    return [f"{name}.{each}" if name else each for each in own]


def _is_layer(module: nn.Module) -> bool:
    if is_parametrized(module):
        return True
    return any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))


def _check(checkpoint: Checkpoint, initial: State) -> None:
    trained = checkpoint.state
    if initial.keys() != trained.keys() or any(
        initial[name].shape != trained[name].shape for name in trained
    ):
        raise ValueError(
            f"{checkpoint.name} begins with other tensors than these weights have; accepted are weights of a "
            "network as its authors initialise it"
        )
    if all(np.array_equal(initial[name], trained[name]) for name in trained):
        raise ValueError(
            f"{checkpoint.name} has these weights whenever it is made, so none can be re-drawn; accepted is a "
            "network that begins with random weights"
        )
