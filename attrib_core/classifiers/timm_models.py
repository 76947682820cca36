"""Models of timm by name, with or without the tag of their weights (`resnet18.a1_in1k`)."""

import copy
import math
from dataclasses import asdict
from typing import Any

import timm
from timm.data.config import resolve_data_config
from timm.models import PretrainedCfg
from torch import nn

from attrib_core.classifiers import imagenet
from attrib_core.classifiers.heads import last_layers
from attrib_core.classifiers.identity import Labels, Preprocessing
from attrib_core.classifiers.model_files import check_reachable
from attrib_core.classifiers.registry import Architecture, StateDict

# Sizes of the label sets of published weights: ImageNet's, its release of 2021, and Bamboo's.
LABEL_SETS = {imagenet.NUM_CLASSES, *imagenet.LARGER_SETS, 19_168, 115_217}
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


class TimmModel(Architecture):
    """A model of timm (`timm.create_model(name)`); its named weights are timm's tags."""

    def __init__(self, name: str) -> None:
        self.name, _, tag = name.partition(".")
        prefix = f"{self.name}."
        tagged = timm.list_models(f"{prefix}*", pretrained=True)
        self.weights_names = tuple(each.removeprefix(prefix) for each in tagged)
        if tag and tag not in self.weights_names:
            raise ValueError(
                f"model={name!r}: {self.name} has no weights {tag!r}; accepted are {', '.join(tagged)}"
            )
        default = tag or self._configuration(None).tag
        self.default_weights = default if default in self.weights_names else None
        if has_classes(self._configuration(None)):
            self.num_classes = self._configuration(None).num_classes
        self._options: dict[str, Any] = {}

    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        # The tag decides some shapes, such as the number of position embeddings.
        tagged = self._tagged(weights_name)
        network: nn.Module = timm.create_model(tagged, num_classes=num_classes, **self._options)
        return network

    def for_images(self, preprocessing: Preprocessing) -> Architecture:
        changed = copy.copy(self)
        changed._options = {"in_chans": len(preprocessing.mean)}
        if self._configuration(None).fixed_input_size:
            changed._options["img_size"] = preprocessing.image_size
        return changed

    def fetch(self, weights_name: str) -> StateDict:
        """Return the weights from timm's cache or the hub; ValueError if they have no classes."""
        tagged = self._tagged(weights_name)
        if not has_classes(self._configuration(weights_name)):
            raise ValueError(self._without_classes(weights_name))
        try:
            self._check_reachable(weights_name)
            network: nn.Module = timm.create_model(tagged, pretrained=True)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"model={self.name!r}: could not fetch {tagged} from the Hugging Face hub ({error}); "
                "download it elsewhere and give it as weights=FILE"
            ) from error
        return network.state_dict()

    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        return evaluation_preprocessing(self._configuration(weights_name))

    def labels(self, num_classes: int) -> Labels:
        return imagenet.labels(num_classes)

    def heads(self, network: nn.Module) -> tuple[str, ...]:
        named = self._configuration(None).classifier or ()
        names = (named,) if isinstance(named, str) else tuple(named)
        # Some of them are modules around the layer.
        found = [last_layers(network.get_submodule(name), name) for name in names]
        return tuple(name for each in found for name in each) or last_layers(network)

    def _check_reachable(self, weights_name: str | None) -> None:
        configuration = self._configuration(weights_name)
        if configuration.hf_hub_id:
            files = [configuration.hf_hub_filename] if configuration.hf_hub_filename else HUB_FILES
            check_reachable(configuration.hf_hub_id, files)

    def _without_classes(self, weights_name: str) -> str:
        """Return the message that refuses weights without classes; it names those that have some."""
        outputs = self._configuration(weights_name).num_classes
        reason = f"their {outputs} outputs are an embedding" if outputs else "features only"
        others = [self._tagged(name) for name in self.weights_names if has_classes(self._configuration(name))]
        accepted = ", ".join([*others, "weights=FILE of this network with a head"])
        return (
            f"model={self._tagged(weights_name)!r}: its weights have no classes ({reason}); accepted are "
            f"classifiers: {accepted}"
        )

    def _tagged(self, weights_name: str | None) -> str:
        tag = weights_name or self.default_weights
        return f"{self.name}.{tag}" if tag else self.name

    def _configuration(self, weights_name: str | None) -> PretrainedCfg:
        configuration = timm.get_pretrained_cfg(self._tagged(weights_name))
        assert configuration is not None, f"timm lists {self.name} without a configuration"
        return configuration


def has_classes(configuration: PretrainedCfg) -> bool:
    """Return False for weights that give features only, or an embedding, such as CLIP's.

    timm counts the numbers of an embedding as classes. It has no other mark of them, so that classes are those of
    the label sets that its weights are trained on.
    """
    return bool(configuration.label_names) or configuration.num_classes in LABEL_SETS


def evaluation_preprocessing(configuration: PretrainedCfg) -> Preprocessing:
    """Return what timm's own evaluation transform does (`timm.data.create_transform`).

    Raises ValueError for images that are not square.
    """
    data = resolve_data_config(pretrained_cfg=asdict(configuration))  # type: ignore[no-untyped-call]
    _, height, width = data["input_size"]
    if height != width:
        raise ValueError(
            f"model={configuration.architecture!r}: its images are {height}×{width}; accepted are square ones"
        )
    return Preprocessing(
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        image_size=height,
        resize_size=math.floor(height / data["crop_pct"]),
        crop_mode=data["crop_mode"],
        interpolation=data["interpolation"],
    )


class _Timm:
    def names(self) -> list[str]:
        names: list[str] = timm.list_models()
        return names

    def architecture(self, name: str) -> Architecture | None:
        return TimmModel(name) if name.partition(".")[0] in self.names() else None


FAMILY = _Timm()
