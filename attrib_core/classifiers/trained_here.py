"""Architectures that this project trains with `sweeps/train_classifier.py`."""

import importlib.resources
from abc import abstractmethod
from pathlib import Path

from torch import nn

from attrib_core.classifiers.identity import Labels
from attrib_core.classifiers.registry import Architecture, StateDict
from attrib_core.classifiers.weights_files import file_digest, read_weights_file

SHIPPED = "shipped"


class TrainedHere(Architecture):
    """A network that this project trains; some have weights in this package, as `NAME.safetensors`.

    `shipped_sha256` is the digest of that file, None if no weights are shipped.
    """

    class_names: tuple[str, ...]
    shipped_sha256: str | None = None

    def __init__(self, name: str) -> None:
        self.name, self.num_classes = name, len(self.class_names)
        self.training_command = f"python sweeps/train_classifier.py --model {name}"
        if self.shipped_sha256 is not None:
            self.weights_names, self.default_weights = (SHIPPED,), SHIPPED

    @abstractmethod
    def build(self, num_classes: int) -> nn.Module:
        """Return the network with random weights."""

    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        return self.build(num_classes)

    def fetch(self, weights_name: str) -> StateDict:
        """Return the package's weights; ValueError if the file's SHA-256 is not the pinned one."""
        path = shipped_file(self.name)
        if not path.is_file():
            raise ValueError(f"{path}: no such file; reinstall attrib-sweeps")
        if (found := file_digest(path)) != self.shipped_sha256:
            raise ValueError(
                f"{path}: SHA-256 is {found}, expected {self.shipped_sha256}; reinstall attrib-sweeps"
            )
        return read_weights_file(path)

    def labels(self, num_classes: int) -> Labels:
        if num_classes == len(self.class_names):
            return Labels(class_names=self.class_names)
        return Labels.numbered(num_classes)


def shipped_file(name: str) -> Path:
    """Return the path of the package's weights for that model."""
    return Path(str(importlib.resources.files("attrib_core.classifiers"))) / "weights" / f"{name}.safetensors"
