"""Names of networks: some are registered one by one, the others belong to families of models.

A new model is one new file: a subclass of `Architecture` and a function under `@register("its_name")`.
"""

import difflib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from attrib_core.classifiers.heads import last_layers
from attrib_core.classifiers.identity import Labels, Preprocessing

StateDict = Mapping[str, Tensor]


class Architecture(ABC):
    """A network, the named weights that exist for it, and how it expects its images."""

    name: str
    num_classes: int = 1000  # of the default weights
    weights_names: tuple[str, ...] = ()
    default_weights: str | None = None  # one of `weights_names`
    training_command: str | None = None  # makes a weights file, if this project trains the network

    @abstractmethod
    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        """Return the network, built for the named weights or, if None, for the default ones.

        The caller replaces its weights unless `untrained`; then they are initialised as its authors do it.
        """

    @abstractmethod
    def fetch(self, weights_name: str) -> StateDict:
        """Return the named weights; ValueError if they are not available."""

    @abstractmethod
    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        """Return the preprocessing for the named weights or, if None, for the default ones."""

    @abstractmethod
    def labels(self, num_classes: int) -> Labels:
        """Return the names of the classes."""

    def with_settings(self, settings: Mapping[str, str]) -> "Architecture":
        """Return the architecture with the settings of a name; ValueError names one that it does not have."""
        name, value = next(iter(settings.items()))
        raise ValueError(f"model={self.name!r}: {name}={value} is no setting of it; it has none")

    def for_images(self, preprocessing: Preprocessing) -> "Architecture":
        """Return the architecture whose network takes such images; ValueError if their channels cannot be.

        Only networks that are built for one size of images need to look at their size.
        """
        channels, accepted = len(preprocessing.mean), len(self.preprocessing(None).mean)
        if channels != accepted:
            raise ValueError(f"channels={channels}: {self.name} takes {accepted}")
        return self

    def published(self, file: Path) -> str | None:
        """Return the named weights whose published file this is, None for any other file."""
        return None

    def notes(self, weights_name: str | None) -> tuple[str, ...]:
        """Return what is assumed about a weights file; `weights_name` if it is the published file of those."""
        return ()

    def heads(self, network: nn.Module) -> tuple[str, ...]:
        """Return the names of the layers that give one output a class: the last linear or convolutional layer.

        An architecture that has several heads, or other layers after its head, names them itself.
        """
        return last_layers(network)

    def adapt(self, state: StateDict) -> StateDict:
        """Rename the tensors of a state dict that uses another project's names; return any other unchanged."""
        return state


class Family(Protocol):
    """A library of many models, such as timm."""

    def names(self) -> Iterable[str]:
        """Return all names, for near matches."""

    def architecture(self, name: str) -> Architecture | None:
        """Return the architecture of that name, None if the family has no such name."""


_BUILDERS: dict[str, Callable[[], Architecture]] = {}
# Modules that define a FAMILY. They are imported only when a name is looked up in them, because that takes a
# second or two. A model is found by `prefix:name`, and by its bare name if no earlier family has a model of
# that name.
_FAMILIES = {
    "torchvision": "attrib_core.classifiers.torchvision_models",
    "timm": "attrib_core.classifiers.timm_models",
}


def register(name: str) -> Callable[[Callable[[], Architecture]], Callable[[], Architecture]]:
    """Register the decorated function as the builder of that name."""

    def decorate(builder: Callable[[], Architecture]) -> Callable[[], Architecture]:
        assert name not in _BUILDERS, f"{name} is registered twice"
        _BUILDERS[name] = builder
        return builder

    return decorate


def find_architecture(name: str) -> Architecture:
    """Return the architecture of a name or `family:name`; ValueError with near matches if there is none.

    A name may end in settings of its own: `googlenet:transform_input=true`.
    """
    parts = name.split(":")
    settings = dict(part.split("=", 1) for part in parts if "=" in part)
    architecture = _named(":".join(part for part in parts if "=" not in part))
    return architecture.with_settings(settings) if settings else architecture


def _named(name: str) -> Architecture:
    prefix, separator, bare = name.partition(":")
    if separator and prefix not in _FAMILIES:
        raise ValueError(
            f"model={name!r}: no family {prefix!r}; accepted prefixes are {', '.join(_FAMILIES)}"
        )
    if not separator and name in _BUILDERS:
        return _BUILDERS[name]()
    for family in [prefix] if separator else _FAMILIES:
        if architecture := _family(family).architecture(bare if separator else name):
            return architecture
    raise ValueError(_unknown(name, prefix if separator else None))


def _family(prefix: str) -> Family:
    family: Family = importlib.import_module(_FAMILIES[prefix]).FAMILY
    return family


def _unknown(name: str, prefix: str | None) -> str:
    if prefix:
        known = [f"{prefix}:{each}" for each in _family(prefix).names()]
    else:
        known = [*_BUILDERS, *(each for family in _FAMILIES for each in _family(family).names())]
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=4)
    if near:
        return f"model={name!r}: unknown; near matches are {', '.join(near)}"
    families = ", ".join(f"any model of {each}" for each in _FAMILIES)
    return f"model={name!r}: unknown; accepted are {', '.join(sorted(_BUILDERS))}, {families}"
