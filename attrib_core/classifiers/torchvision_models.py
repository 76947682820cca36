"""Classification models of torchvision, with named weights; `DEFAULT` is not used, since it may change."""

import copy
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torchvision
from torch import nn

from attrib_core.classifiers import imagenet
from attrib_core.classifiers.identity import Labels, Preprocessing
from attrib_core.classifiers.registry import Architecture, StateDict
from attrib_core.classifiers.weights_files import file_digest

FIRST = "IMAGENET1K_V1"
UNAVAILABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError)  # no network, or a broken copy
AUXILIARY_HEADS = ("AuxLogits.", "aux1.", "aux2.")
# Networks that can turn torchvision's normalisation into another before their first layer. The published weights
# were trained so, with `transform_input`. A file holds no trace of it.
TRANSFORMING = ("inception_v3", "googlenet")
SWITCH = {"true": True, "false": False}
# DenseNet's published files predate the rule that a module's name has no dot.
PUBLISHED_DIGEST = re.compile(r"-([0-9a-f]{8,})\.")  # the beginning of a file's SHA-256, in its name
DENSENET_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")


class TorchvisionModel(Architecture):
    """A model of torchvision (`torchvision.models.get_model(name)`) that returns only logits."""

    default_weights: str
    transform_input: bool | None = None  # as the published weights have it, and as no other weights have it
    image_size: int | None = None  # of a network that is built for one size; that of the weights if None

    def __init__(self, name: str) -> None:
        self.name = name
        enum: Any = torchvision.models.get_model_weights(name)
        members = {key: member for key, member in enum.__members__.items() if key != "DEFAULT"}
        self._weights = {f"{enum.__name__}.{key}": member for key, member in members.items()}
        self.weights_names = tuple(self._weights)
        first = f"{enum.__name__}.{FIRST}"
        self.default_weights = first if first in self._weights else self.weights_names[0]

    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        arguments: dict[str, Any] = {}
        if self.name in TRANSFORMING:  # initialising Inception's weights takes seconds
            arguments = {
                "transform_input": self._transforms_input(weights_name),
                "aux_logits": False,
                "init_weights": untrained,
            }
        if self.name.startswith("vit_"):  # the image's size decides the number of position embeddings
            arguments["image_size"] = self.image_size or self.preprocessing(weights_name).image_size
        network: nn.Module = torchvision.models.get_model(
            self.name, weights=None, num_classes=num_classes, **arguments
        )
        return network

    def fetch(self, weights_name: str) -> StateDict:
        """Return the weights from torchvision's cache or its server."""
        weights = self._weights[weights_name]
        try:
            state: StateDict = weights.get_state_dict(
                progress=False, check_hash=True, weights_only=True, map_location="cpu"
            )
        except UNAVAILABLE as error:
            raise ValueError(
                f"model={self.name!r}: could not fetch {weights_name} from {weights.url} ({error}); "
                "download it elsewhere and give it as weights=FILE"
            ) from error
        return state

    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        transforms = self._weights[weights_name or self.default_weights].transforms()
        return Preprocessing(
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            image_size=transforms.crop_size[0],
            resize_size=transforms.resize_size[0],
            interpolation=transforms.interpolation.value,
        )

    def labels(self, num_classes: int) -> Labels:
        return imagenet.labels(num_classes)

    def with_settings(self, settings: Mapping[str, str]) -> Architecture:
        accepted = ("transform_input",) if self.name in TRANSFORMING else ()
        for name, value in settings.items():
            if name not in accepted:
                raise ValueError(
                    f"model={self.name!r}: {name}={value} is no setting of it; "
                    f"accepted are {', '.join(accepted) or 'none'}"
                )
            if value.lower() not in SWITCH:
                raise ValueError(
                    f"model={self.name!r}: {name}={value!r}; accepted are {' and '.join(SWITCH)}"
                )
        changed = copy.copy(self)
        changed.transform_input = SWITCH[settings["transform_input"].lower()]
        return changed

    def for_images(self, preprocessing: Preprocessing) -> Architecture:
        changed = copy.copy(self)
        changed.image_size = preprocessing.image_size
        return Architecture.for_images(changed, preprocessing)

    def published(self, file: Path) -> str | None:
        """Compare the file's digest with those that torchvision writes into the names of its own files."""
        if not file.is_file():
            return None
        digest = file_digest(file)
        for name, weights in self._weights.items():
            found = PUBLISHED_DIGEST.search(weights.url)
            if found and digest.startswith(found[1]):
                return name
        return None

    def notes(self, weights_name: str | None) -> tuple[str, ...]:
        """Say which `transform_input` is taken, since it changes every prediction."""
        if self.name not in TRANSFORMING:
            return ()
        taken = f"transform_input={str(self._transforms_input(weights_name)).lower()}"
        if self.transform_input is not None:
            return (f"{taken}, as the model's name says",)
        if weights_name is not None:
            return (f"{taken}: it is the file of {weights_name}",)
        return (
            f"{taken}, as torchvision builds {self.name} for a training from scratch; "
            f"if torchvision's own weights were trained further, give --model {self.name}:transform_input=true",
        )

    def _transforms_input(self, weights_name: str | None) -> bool:
        return weights_name is not None if self.transform_input is None else self.transform_input

    def adapt(self, state: StateDict) -> StateDict:
        """Remove the auxiliary heads that are only used in training, and update DenseNet's old names."""
        if self.name in TRANSFORMING:
            return {name: tensor for name, tensor in state.items() if not name.startswith(AUXILIARY_HEADS)}
        if self.name.startswith("densenet"):
            return {DENSENET_NAME.sub(r"\1\2", name): tensor for name, tensor in state.items()}
        return state


class _Torchvision:
    def names(self) -> list[str]:
        # Restricted to this module: no detection, segmentation, video or quantised models.
        names: list[str] = torchvision.models.list_models(module=torchvision.models)
        return names

    def architecture(self, name: str) -> Architecture | None:
        return TorchvisionModel(name) if name in self.names() else None


FAMILY = _Torchvision()
