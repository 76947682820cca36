"""Any classification model of torchvision, with named weights: what `DEFAULT` means may change."""

import pickle
import re
from typing import Any

import torchvision
from torch import nn

from attrib_core.classifiers import imagenet
from attrib_core.classifiers.identity import Labels, Preprocessing
from attrib_core.classifiers.registry import Architecture, StateDict

FIRST = "IMAGENET1K_V1"
UNAVAILABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError)  # no network, or a broken copy
AUXILIARY_HEADS = ("AuxLogits.", "aux1.", "aux2.")
# What a constructor needs so that the network is the one its published weights were trained in.
ARGUMENTS: dict[str, dict[str, Any]] = {
    name: {"transform_input": True, "aux_logits": False} for name in ("inception_v3", "googlenet")
}
# DenseNet's published files predate the rule that a module's name has no dot.
DENSENET_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")


class TorchvisionModel(Architecture):
    """`torchvision.models.get_model(name)`, giving logits alone."""

    default_weights: str

    def __init__(self, name: str) -> None:
        self.name = name
        enum: Any = torchvision.models.get_model_weights(name)
        members = {key: member for key, member in enum.__members__.items() if key != "DEFAULT"}
        self._weights = {f"{enum.__name__}.{key}": member for key, member in members.items()}
        self.weights_names = tuple(self._weights)
        first = f"{enum.__name__}.{FIRST}"
        self.default_weights = first if first in self._weights else self.weights_names[0]

    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        arguments = dict(ARGUMENTS.get(self.name, {}))
        if arguments:  # drawing Inception's weights takes seconds
            arguments["init_weights"] = untrained
        if self.name.startswith("vit_"):  # their position embeddings are as many as an image has patches
            arguments["image_size"] = self.preprocessing(weights_name).image_size
        network: nn.Module = torchvision.models.get_model(
            self.name, weights=None, num_classes=num_classes, **arguments
        )
        return network

    def fetch(self, weights_name: str) -> StateDict:
        """The weights from torchvision's cache or its server."""
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
        image_size = transforms.crop_size[0]
        return Preprocessing(
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            image_size=image_size,
            crop_fraction=image_size / transforms.resize_size[0],
            interpolation=transforms.interpolation.value,
        )

    def labels(self, num_classes: int) -> Labels:
        return imagenet.labels(num_classes)

    def adapt(self, state: StateDict) -> StateDict:
        """Without the auxiliary heads of training, and with DenseNet's old names brought up to date."""
        if self.name in ARGUMENTS:
            return {name: tensor for name, tensor in state.items() if not name.startswith(AUXILIARY_HEADS)}
        if self.name.startswith("densenet"):
            return {DENSENET_NAME.sub(r"\1\2", name): tensor for name, tensor in state.items()}
        return state


class _Torchvision:
    def names(self) -> list[str]:
        # Asked for by module, which leaves out detection, segmentation, video and quantised models.
        names: list[str] = torchvision.models.list_models(module=torchvision.models)
        return names

    def architecture(self, name: str) -> Architecture | None:
        return TorchvisionModel(name) if name in self.names() else None


FAMILY = _Torchvision()
