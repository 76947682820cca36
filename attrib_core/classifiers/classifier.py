"""A classifier: a network with its input scaling inside, in eval mode, with frozen weights."""

from collections.abc import Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.classifiers.identity import Identity, Preprocessing
from attrib_core.classifiers.outputs import read_logits
from attrib_core.classifiers.wrapping import Description, copied_network, device_of, identify

InputScaling = Literal["model", "none"]


class Classifier(nn.Module):
    """A network that maps images `[B, C, H, W]` in [0, 1] to logits `[B, K]`; made by `wrap` or `load_classifier`.

    It stays in eval mode and its weights are frozen, because other processes may share their memory. The
    constructor does this to the network that it is given; `wrap` does it to a copy.
    """

    mean: Tensor  # [1, C, 1, 1]
    std: Tensor  # [1, C, 1, 1]

    def __init__(self, network: nn.Module, identity: Identity, input_scaling: InputScaling = "model") -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.identity, self.input_scaling = identity, input_scaling
        mean, std = _scaling(identity.preprocessing, input_scaling)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.eval()

    @classmethod
    def wrap(
        cls,
        network: nn.Module,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        image_size: int | None = None,
        channels: int | None = None,
        class_names: Sequence[str] | None = None,
        name: str | None = None,
    ) -> Self:
        """Return a classifier from any network that maps images `[B, C, H, W]` to logits `[B, K]`.

        `read_logits` says which outputs are accepted. A network of one logit z has two classes, (0, z).

        The network is taken to expect pixels in [0, 1]; `mean` and `std`, one number a channel, are for one that
        expects `(pixels - mean) / std`. `image_size` is the side of the images in pixels (224 if None). `channels`
        is the length of `mean`, else what the first layer takes, else 3. The classes are counted by a forward pass
        of one image of zeros; without `class_names` they are called "0", "1", ...

        The classifier holds a copy, in eval mode with frozen weights, on the network's own device. So the network
        keeps its mode and its `requires_grad`, and training it further does not change the classifier: wrap it
        again for that. The digest is that of the state dict; it does not see the network's code.

        Raises ValueError that names what is wrong, the value, and what is accepted.
        """
        description = Description(
            mean=mean,
            std=std,
            image_size=image_size,
            channels=channels,
            class_names=class_names,
            name=name,
        )
        own = copied_network(network)
        return cls(own, identify(own, description)).to(device_of(own))

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def digest(self) -> str:
        return self.identity.digest

    @property
    def preprocessing(self) -> Preprocessing:
        return self.identity.preprocessing

    @property
    def image_size(self) -> int:
        return self.preprocessing.image_size

    @property
    def channels(self) -> int:
        return len(self.preprocessing.mean)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.identity.labels.class_names

    @property
    def wnids(self) -> tuple[str, ...]:
        return self.identity.labels.wnids

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[B, K]` of images `[B, C, H, W]` in [0, 1], of any size that the network takes.

        A network of one logit z an image has two classes, whose logits are (0, z).
        """
        # Images of one channel would silently broadcast to three.
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise ValueError(f"images {list(images.shape)}: {self.name} takes [B, {self.channels}, H, W]")
        return read_logits(self.network((images - self.mean) / self.std), len(images))

    def resize(self, images: Tensor) -> Tensor:
        """Resize images `[B, C, H, W]` to the model's own size: bicubic, antialiased, clamped to [0, 1]."""
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)
        return images.clamp(0, 1)

    def with_input_scaling(self, input_scaling: InputScaling) -> "Classifier":
        """Return a classifier of the same network that normalises its images ("model") or does not ("none")."""
        scaled = Classifier(self.network, self.identity, input_scaling)
        return scaled.to(self.mean.device)

    def train(self, mode: bool = True) -> Self:
        """Refuse train mode: batch norm would write its statistics to memory that may be read-only."""
        if mode:
            raise ValueError(
                f"{self.name} is a classifier for use, not for training: train its `network` instead"
            )
        return super().train(mode)


def _scaling(
    preprocessing: Preprocessing, input_scaling: InputScaling
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if input_scaling == "model":
        return preprocessing.mean, preprocessing.std
    if input_scaling == "none":
        num_channels = len(preprocessing.mean)
        return (0.0,) * num_channels, (1.0,) * num_channels
    raise ValueError(f"input_scaling={input_scaling!r}: accepted are 'model' and 'none'")
