"""Networks from a user's own code: `FILE.py:FUNCTION`, `package.module:CLASS`, or the name of a module in it.

A function or class is called with the reference's settings and returns an `nn.Module`, or a `Classifier`, which
says how its images are scaled. Whatever it returns is copied, so that the user's own object stays as it is.
"""

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from attrib_core.classifiers.classifier import Classifier
from attrib_core.classifiers.heads import Shaped
from attrib_core.classifiers.identity import Identity, Labels, Preprocessing
from attrib_core.classifiers.registry import Architecture, Files, StateDict
from attrib_core.classifiers.user_modules import checked_module, trainable_copy
from attrib_core.classifiers.wrapping import DEFAULT_IMAGE_SIZE, Description, identify
from attrib_core.errors import in_one_line
from attrib_core.references import Reference, typed_settings
from attrib_core.seeding import derive_seed, global_randomness
from attrib_core.user_code import canonical, code_file, find_target
from attrib_core.user_code.targets import failed_line

RETURNED = "returned"  # the weights that the function gives its network
NUM_CLASSES = "num_classes"  # a parameter of this name gets the number of classes in a training
# Tried in this order where the user says no size and the network does not take the default one.
OTHER_SIZES = (28, 32, 48, 64, 96, 128, 160, 192, 240, 256, 288, 299, 320, 336, 384, 448, 512)


class UserNetwork(Architecture):
    """What a user's function returns; of a bare module nothing is known but what it answers and what is said."""

    weights_names, default_weights = (RETURNED,), RETURNED

    def __init__(self, reference: Reference) -> None:
        self._reference, self._description = reference, Description()
        self.name = str(canonical(reference))
        # A file may make a module when it is imported: every process makes the same one.
        with global_randomness(derive_seed("import", canonical(reference).name)):
            target = find_target("model", reference)
        self.definition = target.definition
        self._function = _function(f"model={self.name!r}", target.value, reference)
        self._given: dict[str, int] = {}

    @property
    def num_classes(self) -> int:  # type: ignore[override]  # counted when first asked for
        return len(self._identity.labels.class_names)

    def has_setting(self, name: str) -> bool:
        return name in _parameters(self._function)

    def described(self, description: Description) -> Architecture:
        changed = UserNetwork(self._reference)
        changed._description, changed._given = description, self._given
        return changed

    def with_classes(self, num_classes: int) -> Architecture:
        if NUM_CLASSES not in _parameters(self._function) or NUM_CLASSES in dict(self._reference.settings):
            return self
        changed = UserNetwork(self._reference)
        changed._description, changed._given = self._description, {NUM_CLASSES: num_classes}
        return changed

    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        """Return the network. Raises ValueError if it shall be trained and has another number of classes."""
        made = self._make()
        network = trainable_copy(made)
        if untrained and (found := len(self._identify(made, network).labels.class_names)) != num_classes:
            raise ValueError(
                f"model={self.name!r}: it has {found} classes; accepted is a network of {num_classes}, or a "
                f"function with a parameter {NUM_CLASSES}"
            )
        return network

    def fetch(self, weights_name: str) -> StateDict:
        """Return the weights that the function gives its network; random ones are always the same."""
        return self._built.state_dict()

    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        return self._identity.preprocessing

    def labels(self, num_classes: int) -> Labels:
        known = self._identity.labels
        return known if len(known.class_names) == num_classes else Labels.numbered(num_classes)

    def for_images(self, preprocessing: Preprocessing) -> Architecture:
        """Return the same: the user's code says which images its network takes."""
        return self

    def heads(self, network: nn.Module) -> tuple[str, ...]:
        """Return none: the user's code says which head its network has, not a file."""
        return ()

    def num_outputs(self, network: nn.Module, state: Shaped) -> int:
        """Return the number of classes, counted in the network's answer to an image."""
        return self.num_classes

    def notes(self, weights_name: str | None) -> tuple[str, ...]:
        """Say which size of images is taken where the user says none."""
        if self._is_described or self._description.image_size is not None:
            return ()
        size = self._identity.preprocessing.image_size
        if size != DEFAULT_IMAGE_SIZE:
            return (f"image_size {size}: found by trying which images {self.name} takes",)
        return (
            f"image_size {size}: {self.name} takes images of this size, perhaps of others too; if it was trained "
            "on others, return Classifier.wrap(network, image_size=...), or give --image-size where data is used",
        )

    def notes_by_name(self, weights_name: str | None) -> tuple[str, ...]:
        """Say whether the weights that the function returns are random, and whether untrained ones are not."""
        with global_randomness(derive_seed(RETURNED, "again", self.name)):
            again = trainable_copy(self._make()).state_dict()
        own = self._built.state_dict()
        is_random = own.keys() != again.keys() or any(
            not torch.equal(tensor, again[name]) for name, tensor in own.items()
        )
        if weights_name is not None and is_random:
            random = (f"{self.name} returns random weights; give --weights FILE for trained ones",)
            return (*self.notes(weights_name), *random)
        if weights_name is None and not is_random:
            same = (f"{self.name} returns the same weights under two seeds, so they may be trained ones",)
            return (*self.notes(weights_name), *same)
        return self.notes(weights_name)

    @cached_property
    def _made(self) -> nn.Module:
        with global_randomness(derive_seed(RETURNED, self.name)):
            return self._make()

    @cached_property
    def _built(self) -> nn.Module:
        return trainable_copy(self._made)

    @cached_property
    def _identity(self) -> Identity:
        return self._identify(self._made, self._built)

    @property
    def _is_described(self) -> bool:
        return isinstance(self._made, Classifier)

    def _make(self) -> nn.Module:
        """Return what the function returns, a module or a classifier; leaves random generators as they were."""
        where = f"model={self.name!r}"
        settings = typed_settings("model", self._reference, self._function, self._given)
        file = code_file(self._reference)
        with global_randomness():
            try:
                made = self._function(**settings, **self._given)
            except (Exception, SystemExit) as error:  # a user's function may raise anything
                line = failed_line(error, file)
                place = f"{file}, line {line}," if line else self._reference.target
                raise ValueError(f"{where}: {place} fails: {in_one_line(error)}") from error
        return checked_module(where, made)

    def _identify(self, made: nn.Module, network: nn.Module) -> Identity:
        """Return what is known of the network, or found out by passing an image through it."""
        if isinstance(made, Classifier):
            scaled = replace(
                made.preprocessing,
                mean=tuple(made.mean.flatten().tolist()),
                std=tuple(made.std.flatten().tolist()),
            )
            return (
                made.identity
                if made.input_scaling == "model"
                else replace(made.identity, preprocessing=scaled)
            )
        frozen = copy.deepcopy(network).eval().requires_grad_(False)
        with global_randomness():
            return self._found_out(frozen)

    def _found_out(self, network: nn.Module) -> Identity:
        try:
            return identify(network, self._description)
        except ValueError as error:
            for size in OTHER_SIZES if self._description.image_size is None else ():
                try:
                    return identify(network, replace(self._description, image_size=size))
                except ValueError:
                    continue
            raise ValueError(f"model={self.name!r}: {str(error).removeprefix('network: ')}") from error


def _function(where: str, value: Any, reference: Reference) -> Callable[..., Any]:
    """Return the function that makes the network; a module that is named itself is returned as it is."""
    if isinstance(value, nn.Module):
        if reference.settings:
            raise ValueError(
                f"{where}: {reference.target} is a module, which has no settings; accepted are none"
            )
        return lambda: value
    if callable(value):
        function: Callable[..., Any] = value
        return function
    raise ValueError(
        f"{where}: {reference.target} is of type {type(value).__name__}; accepted are a function or class that "
        "gives a torch.nn.Module, and a module"
    )


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


class _UserNetworks:
    def architecture(self, reference: Reference, files: Files) -> Architecture:
        return UserNetwork(reference)


FORMAT = _UserNetworks()
