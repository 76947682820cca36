"""Models in timm's hub format, from the Hugging Face hub or a folder: `hf-hub:timm/resnet18.a1_in1k`.

A folder holds `config.json` and `model.safetensors`, as `timm.models.push_to_hf_hub` and `save_for_hf` write them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import timm
from timm.models import PretrainedCfg
from torch import nn

from attrib_core.classifiers import imagenet
from attrib_core.classifiers.identity import Labels
from attrib_core.classifiers.model_files import find_file, read_files, source_of
from attrib_core.classifiers.registry import Architecture, Files, StateDict, canonical_name
from attrib_core.classifiers.timm_models import HUB_FILES, TimmModel
from attrib_core.classifiers.weights_files import read_weights
from attrib_core.errors import in_one_line
from attrib_core.references import Reference, unknown
from attrib_core.user_code.snapshots import digest_of

CONFIG = "config.json"
PUBLISHED = "published"  # the weights in the folder or on the hub
WNID = re.compile(r"n\d{8}")


class TimmHubModel(TimmModel):
    """A network of timm with a configuration of its own: classes, images, arguments."""

    def __init__(self, reference: Reference, files: Files) -> None:
        self._source = source_of(reference)
        self._where = f"model={str(reference)!r}"
        self.name = canonical_name(str(reference))
        self.files = files or read_files(self._where, self._source, CONFIG)
        self._network_name, self._published, self._arguments = _parsed(self._where, self.files[CONFIG])
        self.weights_names, self.default_weights = (PUBLISHED,), PUBLISHED
        self.num_classes = self._published["num_classes"]
        self.definition = f"timm {version('timm')}, files SHA-256 {digest_of(self.files)[:16]}"
        self._options: dict[str, Any] = {}

    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        return self._created(num_classes=num_classes)

    def fetch(self, weights_name: str) -> StateDict:
        """Return the weights as timm reads them; ValueError if there are none or they are not this network's."""
        file = find_file(self._where, self._source, HUB_FILES)
        if file is None:
            raise ValueError(f"{self._where}: no weights in it; accepted are {' and '.join(HUB_FILES)}")
        state = dict(read_weights(file).state)
        try:
            network = self._created(pretrained=True, state_dict=state, num_classes=self.num_classes)
        except RuntimeError as error:  # of load_state_dict
            raise ValueError(
                f"{self._where}: {file.name} is of another network ({_reason(error)})"
            ) from error
        return network.state_dict()

    def labels(self, num_classes: int) -> Labels:
        """Return the names in the configuration; without any, what timm takes for the number of classes."""
        names = self._published.get("label_names")
        if not names or len(names) != num_classes:
            return imagenet.labels(num_classes)
        names = tuple(map(str, names))
        if not all(map(WNID.fullmatch, names)):
            return Labels(class_names=names)
        known = imagenet.labels(num_classes)
        described = self._published.get("label_descriptions") or {}
        if known.wnids == names or not isinstance(described, Mapping):
            return known if known.wnids == names else Labels(class_names=names, wnids=names)
        return Labels(class_names=tuple(str(described.get(name, name)) for name in names), wnids=names)

    def _created(self, *, state_dict: StateDict | None = None, **arguments: Any) -> nn.Module:
        configuration = self._published | ({"state_dict": state_dict} if state_dict else {})
        network: nn.Module = timm.create_model(
            self._network_name, pretrained_cfg=configuration, **(self._arguments | self._options | arguments)
        )
        return network

    def _configuration(self, weights_name: str | None) -> PretrainedCfg:
        known = {field.name for field in fields(PretrainedCfg)}
        return PretrainedCfg(**{name: value for name, value in self._published.items() if name in known})


def _parsed(where: str, content: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the network's name, its `pretrained_cfg` and its arguments, as timm reads a `config.json`.

    Raises ValueError for a file that is not in timm's format, and for a network that this timm does not have.
    """
    try:
        published, name, arguments = timm.models._hub._parse_model_cfg(json.loads(content), {})
        name, published, arguments = str(name), dict(published), dict(arguments)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{where}: its {CONFIG} is not in timm's format ({in_one_line(error)}); one of transformers is "
            "transformers:NAME"
        ) from error
    if not timm.is_model(name):
        raise ValueError(
            f"{where}: timm {version('timm')} has {unknown('architecture', name, timm.list_models())}"
        )
    if not isinstance(published.get("num_classes"), int) or published["num_classes"] < 1:
        raise ValueError(
            f"{where}: num_classes={published.get('num_classes')!r} in its {CONFIG}; accepted is a classifier, "
            "with classes"
        )
    arguments.pop("num_classes", None)
    return name, published | {"architecture": name}, arguments


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(lines[:2])[:200]


class _TimmHub:
    def architecture(self, reference: Reference, files: Files) -> Architecture:
        return TimmHubModel(reference, files)


FORMAT = _TimmHub()
