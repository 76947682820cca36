"""The checks of `Classifier.wrap`, and what it finds out about a bare network.

Users need to say little: the rest is read from the layers, or from one forward pass.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from attrib_core.classifiers.checkpoint import state_digest, to_arrays
from attrib_core.classifiers.identity import Identity, Labels, Preprocessing
from attrib_core.classifiers.neighbours import NUM_IMAGES, check_neighbours
from attrib_core.classifiers.outputs import read_logits
from attrib_core.classifiers.probabilities import WatchedPass, check_sums
from attrib_core.errors import in_one_line

DEFAULT_IMAGE_SIZE = 224
DEFAULT_CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a user says about a network; None where nothing is said. ValueError names a wrong field."""

    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    image_size: int | None = None
    channels: int | None = None
    class_names: Sequence[str] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for field in ("image_size", "channels"):
            _check_count(field, getattr(self, field))
        self._check_scaling()
        if isinstance(self.class_names, str):
            raise ValueError(f"class_names={self.class_names!r}: accepted is a sequence, one name a class")

    def _check_scaling(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean={self.mean!r} and std={self.std!r}: accepted are both or neither")
        if self.mean is None or self.std is None:
            return
        mean, std = _numbers("mean", self.mean), _numbers("std", self.std)
        if len(mean) != len(std):
            raise ValueError(f"mean={mean} and std={std}: accepted is one number of each for each channel")
        if max(mean) > 1:
            raise ValueError(
                f"mean={mean}: accepted are numbers for pixels in [0, 1]; divide mean and std by 255"
            )
        if min(std) <= 0:
            raise ValueError(f"std={std}: accepted are positive numbers")
        if self.channels not in (None, len(mean)):
            raise ValueError(
                f"channels={self.channels}: mean and std are given for {len(mean)}; accepted is that"
            )

    def preprocessing(self, network: nn.Module) -> Preprocessing:
        """Return the preprocessing; reads from the layers what the user does not say."""
        image_size = DEFAULT_IMAGE_SIZE if self.image_size is None else int(self.image_size)
        if self.mean is not None and self.std is not None:
            mean, std = _numbers("mean", self.mean), _numbers("std", self.std)
        else:
            channels = self.channels or channels_of(network, self.image_size) or DEFAULT_CHANNELS
            mean, std = (0.0,) * channels, (1.0,) * channels
        return Preprocessing(mean=mean, std=std, image_size=image_size)

    def labels(self, num_classes: int) -> Labels:
        """Return the names of the network's classes, or numbers where none are given."""
        if self.class_names is None:
            return Labels.numbered(num_classes)
        names = tuple(self.class_names)
        if len(names) != num_classes or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"class_names={names}: accepted are {num_classes} names, one for each of the network's logits"
            )
        return Labels(class_names=names)

    def remedy(self, network: nn.Module, channels: int) -> str:
        """Return what to change where the network fails on images of the described or guessed shape."""
        takes = channels_of(network, self.image_size) or channels
        if self.mean is not None and takes != channels:
            return (
                f"mean={_numbers('mean', self.mean)}: accepted is one number for each of its {takes} channels"
            )
        missing = [] if self.image_size is not None else ["image_size"]
        missing += [] if self.channels is not None or self.mean is not None else ["channels"]
        return f"give {' and '.join(missing)}" if missing else "accepted are those that it takes"


def copied_network(network: object) -> nn.Module:
    """Return a copy in eval mode with frozen weights, so that the user's own module stays as it is.

    Raises ValueError for an object that is not a network, cannot be copied, or has no weights yet.
    """
    if not isinstance(network, nn.Module):
        raise ValueError(f"network: {type(network).__name__}; accepted is a torch.nn.Module")
    if any(nn.parameter.is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        raise ValueError("network: it has lazy layers without weights; accepted is one that has seen a batch")
    try:
        return copy.deepcopy(network).eval().requires_grad_(False)
    except (RuntimeError, TypeError) as error:
        # A lock has no copy. Old-style weight_norm stores a computed tensor, which torch refuses to copy.
        raise ValueError(
            f"network: copy.deepcopy fails ({in_one_line(error)}); accepted is one that it copies"
        ) from error


def identify(network: nn.Module, description: Description) -> Identity:
    """Return the identity of a network in eval mode; runs it on an image of zeros, and on two pairs of images."""
    preprocessing = description.preprocessing(network)
    digest = _digest(network)  # before the forward pass, which may fill caches
    num_classes = _num_classes(network, preprocessing, description)
    answers = check_neighbours(
        "network",
        lambda images: _logits(network, preprocessing, images),
        len(preprocessing.mean),
        preprocessing.image_size,
    )
    check_sums("network", answers)
    return Identity(
        name=description.name or type(network).__name__,
        digest=digest,
        preprocessing=preprocessing,
        labels=description.labels(num_classes),
    )


def channels_of(network: nn.Module, image_size: int | None) -> int | None:
    """Return the number of channels that the first layer takes, or None if it does not say.

    A convolution has the number as an attribute. A linear layer takes channels × height × width numbers, from
    which it follows if the size of the images is known.
    """
    layers = (each for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear))
    first = next(layers, None)
    if isinstance(first, nn.Conv2d):
        return first.in_channels
    if isinstance(first, nn.Linear) and image_size and first.in_features % image_size**2 == 0:
        return first.in_features // image_size**2
    return None


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the network's first tensor, the CPU if it has none."""
    return next(
        (tensor.device for tensor in (*network.parameters(), *network.buffers())), torch.device("cpu")
    )


def _num_classes(network: nn.Module, preprocessing: Preprocessing, description: Description) -> int:
    """Return the number of classes, counted in the network's answer to one image of zeros."""
    size, channels = preprocessing.image_size, len(preprocessing.mean)
    image = _scaled(torch.zeros(1, channels, size, size), preprocessing).to(device_of(network))
    watched = WatchedPass()
    try:
        # Not inference mode: a network may keep a tensor of this pass, and a gradient pass could not use it.
        with torch.no_grad(), watched:
            output = network(image)
    except Exception as error:  # a user's network may raise anything
        raise ValueError(
            f"network: it fails on an image of zeros with image_size={size} and channels={channels}; "
            f"{description.remedy(network, channels)} ({in_one_line(error)})"
        ) from error
    logits = read_logits(output, 1)
    if watched.gave_probabilities(output):
        raise ValueError(
            "network: its last operation is a sigmoid or softmax, so its outputs are probabilities; "
            "accepted are logits, before it"
        )
    return logits.shape[1]


@torch.no_grad()
def _logits(network: nn.Module, preprocessing: Preprocessing, images: Tensor) -> Tensor:
    """Return the logits `[B, K]` of images in [0, 1]. Raises ValueError where the network fails on a batch."""
    try:
        output = network(_scaled(images, preprocessing).to(device_of(network)))
    except Exception as error:  # a user's network may raise anything
        raise ValueError(
            f"network: it fails on {NUM_IMAGES} images of {' x '.join(map(str, images.shape[1:]))} "
            f"({in_one_line(error)}); accepted are networks that take batches of any number of images"
        ) from error
    return read_logits(output, len(images))


def _scaled(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (preprocessing.mean, preprocessing.std))
    return (images - mean) / std


def _digest(network: nn.Module) -> str:
    try:
        return state_digest(to_arrays(network))
    except (TypeError, AttributeError) as error:
        # Packed weights of quantised layers are no tensors, and numpy has no bfloat16.
        raise ValueError(
            f"network: no digest of its state dict ({in_one_line(error)}); accepted are tensors that numpy holds"
        ) from error


def _check_count(field: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{field}={value!r}: accepted are whole numbers from 1")


def _numbers(field: str, values: Sequence[float]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError, RuntimeError):
        numbers = ()
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{field}={values!r}: accepted is one finite number for each channel")
    return numbers
