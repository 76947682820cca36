"""Which networks a name may stand for: names registered one by one, then whole families of models.

A new model is one new file: a subclass of `Architecture` and a function under `@register("its_name")`.
"""

import difflib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from torch import Tensor, nn

from attrib_core.classifiers.identity import Labels, Preprocessing

StateDict = Mapping[str, Tensor]


class Architecture(ABC):
    """A network, the named weights that exist for it, and how it expects its images.

    Its last parameter belongs to its head, so that a state dict tells the number of classes.
    """

    name: str
    num_classes: int = 1000  # of the default weights
    weights_names: tuple[str, ...] = ()
    default_weights: str | None = None  # one of `weights_names`
    training_command: str | None = None  # which makes a weights file, for one that this project trains

    @abstractmethod
    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        """The network, shaped for the named weights or, if None, for the default ones.

        Its own weights are to be replaced unless `untrained`: then they are drawn as its authors draw them.
        """

    @abstractmethod
    def fetch(self, weights_name: str) -> StateDict:
        """The named weights; ValueError where they cannot be had."""

    @abstractmethod
    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        """How the images were scaled for the named weights or, if None, for the default ones."""

    @abstractmethod
    def labels(self, num_classes: int) -> Labels:
        """What the classes are called."""

    def adapt(self, state: StateDict) -> StateDict:
        """A state dict of this architecture in other people's naming, renamed; any other as it is."""
        return state


class Family(Protocol):
    """Many models under one roof."""

    def names(self) -> Iterable[str]:
        """All names, for near matches."""

    def architecture(self, name: str) -> Architecture | None:
        """The architecture of that name, None if the family has no such name."""


_BUILDERS: dict[str, Callable[[], Architecture]] = {}
# Modules with a FAMILY, imported when a name is looked for among its models: that takes a second or two, and most
# runs need none. A model answers to `prefix:name`, and to its bare name where no earlier family has that.
_FAMILIES = {
    "torchvision": "attrib_core.classifiers.torchvision_models",
    "timm": "attrib_core.classifiers.timm_models",
}


def register(name: str) -> Callable[[Callable[[], Architecture]], Callable[[], Architecture]]:
    """Makes the decorated function the builder of that name."""

    def decorate(builder: Callable[[], Architecture]) -> Callable[[], Architecture]:
        assert name not in _BUILDERS, f"{name} is registered twice"
        _BUILDERS[name] = builder
        return builder

    return decorate


def find_architecture(name: str) -> Architecture:
    """What a name or `family:name` stands for; ValueError with near matches if nothing."""
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
