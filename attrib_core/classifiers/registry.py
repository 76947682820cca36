"""Names of networks: registered one by one, of families of models, in a folder or on a hub, or a user's own code.

A new model is one new file: a subclass of `Architecture` and a function under `@register("its_name")`.
"""

import difflib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from attrib_core.classifiers.heads import Shaped, last_layers, num_outputs
from attrib_core.classifiers.identity import Labels, Preprocessing
from attrib_core.references import Reference, parse_reference
from attrib_core.user_code import canonical, is_code

if TYPE_CHECKING:
    from attrib_core.classifiers.wrapping import Description

StateDict = Mapping[str, Tensor]
Files = Mapping[str, bytes]  # by name


class Architecture(ABC):
    """A network, the named weights that exist for it, and how it expects its images."""

    name: str
    num_classes: int = 1000  # of the default weights
    weights_names: tuple[str, ...] = ()
    default_weights: str | None = None  # one of `weights_names`
    training_command: str | None = None  # makes a weights file, if this project trains the network
    # Which code and which configuration build the network, where they are not this project's own choice; the text
    # changes with them.
    definition: str | None = None
    # From which the network is built; they go with the weights to other machines.
    files: Files = MappingProxyType({})

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
        raise ValueError(
            f"model={self.name!r}: {name}={value} is no setting of it; accepted is {WEIGHTS}=FILE"
        )

    def has_setting(self, name: str) -> bool:
        """Return whether a setting of that name is its own; only a user's function needs to look."""
        return False

    def described(self, description: "Description") -> "Architecture":
        """Return the architecture as a user describes it; only one of which nothing is known needs to look."""
        return self

    def with_classes(self, num_classes: int) -> "Architecture":
        """Return the architecture for a training on so many classes; only a user's function needs to look."""
        return self

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

    def notes_by_name(self, weights_name: str | None) -> tuple[str, ...]:
        """Return what a user should know of named weights or, if None, of untrained ones."""
        return ()

    def heads(self, network: nn.Module) -> tuple[str, ...]:
        """Return the names of the layers that give one output a class: the last linear or convolutional layer.

        An architecture that has several heads, or other layers after its head, names them itself.
        """
        return last_layers(network)

    def num_outputs(self, network: nn.Module, state: Shaped) -> int:
        """Return the number of classes of the heads in a state dict, or of the network's where it has none."""
        return num_outputs(self.heads(network), network, state)

    def adapt(self, state: StateDict) -> StateDict:
        """Rename the tensors of a state dict that uses another project's names; return any other unchanged."""
        return state


class Family(Protocol):
    """A library of many models, such as timm."""

    def names(self) -> Iterable[str]:
        """Return all names, for near matches."""

    def architecture(self, name: str) -> Architecture | None:
        """Return the architecture of that name, None if the family has no such name."""


class Format(Protocol):
    """A way in which people store models: in folders, on a hub, in a file."""

    def architecture(self, reference: Reference, files: Files) -> Architecture:
        """Return the architecture of a folder, a model of the hub or a file.

        `files` are those of a checkpoint; if empty, they are read from where the reference says.
        """


_BUILDERS: dict[str, Callable[[], Architecture]] = {}
# Modules that define a FAMILY. They are imported only when a name is looked up in them, because that takes a
# second or two. A model is found by `prefix:name`, and by its bare name if no earlier family has a model of
# that name.
_FAMILIES = {
    "torchvision": "attrib_core.classifiers.torchvision_models",
    "timm": "attrib_core.classifiers.timm_models",
}
# Modules that define a FORMAT, by prefix. Nothing is found in them by a bare name.
_FORMATS = {
    "hf-hub": "attrib_core.classifiers.timm_hub",
    "transformers": "attrib_core.classifiers.transformers_models",
}
PROGRAM = ".pt2"
SIGN = "+"  # between the members of an ensemble
WEIGHTS = "weights"  # a setting that every model has
_PROGRAMS = "attrib_core.classifiers.exported_programs"
_OWN = "attrib_core.classifiers.user_networks"


def register(name: str) -> Callable[[Callable[[], Architecture]], Callable[[], Architecture]]:
    """Register the decorated function as the builder of that name."""

    def decorate(builder: Callable[[], Architecture]) -> Callable[[], Architecture]:
        assert name not in _BUILDERS, f"{name} is registered twice"
        _BUILDERS[name] = builder
        return builder

    return decorate


def find_architecture(name: str, files: Files | None = None) -> Architecture:
    """Return the architecture that a reference names; ValueError with near matches if there is none.

    A reference is a registered name, `family:name`, a model's folder or file, or a user's own code, and may end in
    settings: `googlenet:transform_input=true`. `files` are those of a `Checkpoint`.
    """
    if not name:
        raise ValueError(_unknown(name, None))
    reference = parse_reference("model", name)
    if reference.name in _FORMATS or reference.target.endswith(PROGRAM):
        return _format(reference).architecture(reference, files or {})
    if _is_own(reference):
        return _format(reference).architecture(reference, {})
    architecture = _named(reference.target)
    return architecture.with_settings(dict(reference.settings)) if reference.settings else architecture


def split_weights(name: str) -> tuple[str, str | None]:
    """Return a model's reference without its setting `weights`, and that setting; None if it has none.

    `fashion_deep:weights=seed1.safetensors` is a network and its weights, wherever a model is named. A user's own
    function that has a parameter of this name gets the setting itself.
    """
    reference = parse_reference("model", name) if name else None
    if reference is None or WEIGHTS not in dict(reference.settings):
        return name, None
    if _is_own(reference) and _format(reference).architecture(reference, {}).has_setting(WEIGHTS):
        return name, None
    others = tuple(setting for setting in reference.settings if setting[0] != WEIGHTS)
    return str(Reference(reference.parts, others)), dict(reference.settings)[WEIGHTS]


def canonical_name(name: str) -> str:
    """Return a model's reference as rows and other processes know it: files and folders without their path."""
    if len(members := member_names(name)) > 1:
        return SIGN.join(map(canonical_name, members))
    bare, weights = split_weights(name)
    if weights is not None:
        reference = parse_reference("model", canonical_name(bare))
        own = (WEIGHTS, Path(weights).name)
        return str(Reference(reference.parts, tuple(sorted((*reference.settings, own)))))
    reference = parse_reference("model", name)
    if reference.name not in _FORMATS and reference.target.endswith(PROGRAM):
        return Path(reference.target).name
    if reference.name in _FORMATS and len(reference.rest) == 1 and local_folder(reference.rest[0]):
        return f"{reference.name}:{Path(reference.rest[0]).resolve().name}"
    return str(canonical(reference)) if _is_own(reference) else name


def member_names(name: str) -> tuple[str, ...]:
    """Return the references of an ensemble's members, `A+B`; of any other name that one alone."""
    names = tuple(name.split(SIGN))
    is_file = SIGN in name and Path(name.partition(":")[0]).exists()  # whose own name has the sign
    return (name,) if is_file or not all(names) else names


def local_folder(text: str) -> Path | None:
    """Return the folder that a text names, None if there is none: then it is a name on a hub."""
    folder = Path(text).expanduser()
    return folder if folder.is_dir() else None


def _is_own(reference: Reference) -> bool:
    return reference.target not in _BUILDERS and reference.name not in _FAMILIES and is_code(reference)


def _format(reference: Reference) -> Format:
    module = _FORMATS.get(reference.name, _PROGRAMS if reference.target.endswith(PROGRAM) else _OWN)
    found: Format = importlib.import_module(module).FORMAT
    return found


def _named(name: str) -> Architecture:
    prefix, separator, bare = name.partition(":")
    if separator and prefix not in _FAMILIES:
        raise ValueError(
            f"model={name!r}: no family {prefix!r}; accepted prefixes are {', '.join((*_FAMILIES, *_FORMATS))}, "
            "a file FILE.py:FUNCTION and a module package.module:FUNCTION"
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
