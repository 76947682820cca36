"""Classification models of torchvision, with named weights; `DEFAULT` is not used, since it may change."""

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
# Arguments with which a constructor builds the network that the published weights were trained in.
ARGUMENTS: dict[str, dict[str, Any]] = {
    name: {"transform_input": True, "aux_logits": False} for name in ("inception_v3", "googlenet")
}
# DenseNet's published files predate the rule that a module's name has no dot.
DENSENET_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")


class TorchvisionModel(Architecture):
    """A model of torchvision (`torchvision.models.get_model(name)`) that returns only logits."""

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
        if arguments:  # initialising Inception's weights takes seconds
            arguments["init_weights"] = untrained
        if self.name.startswith("vit_"):  # the image's size decides the number of position embeddings
            arguments["image_size"] = self.preprocessing(weights_name).image_size
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

    def adapt(self, state: StateDict) -> StateDict:
        """Remove the auxiliary heads that are only used in training, and update DenseNet's old names."""
        if self.name in ARGUMENTS:
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
