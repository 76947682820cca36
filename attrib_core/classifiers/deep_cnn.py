"""Networks of 3×3 convolutions that this project trains itself: `fashion_deep` and `flower_deep`.

Where a stage pools, ReLU comes after the pooling. The order of the two makes no difference to values or gradients,
and ReLU then computes a quarter of the values.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

HIDDEN_WIDTHS = (512, 50)  # of the fully connected layers between the convolutions and the head


class Stage(NamedTuple):
    """A 3×3 'same' convolution and ReLU, with an optional 2×2 max pooling between them."""

    width: int
    pool: bool = False


def deep_cnn(stages: Sequence[Stage], *, image_size: int, channels: int, num_classes: int) -> nn.Sequential:
    """Return a network from normalised images `[B, channels, size, size]` to logits `[B, num_classes]`."""
    network = nn.Sequential()
    width, size = channels, image_size
    for number, stage in enumerate(stages, 1):
        network.add_module(f"conv{number}", _convolution(width, stage.width, size))
        if stage.pool:
            network.add_module(f"pool{number}", nn.MaxPool2d(2))
            size //= 2
        network.add_module(f"relu{number}", nn.ReLU())
        width = stage.width
    network.add_module("flatten", nn.Flatten())
    width *= size * size
    for number, hidden in enumerate(HIDDEN_WIDTHS, 1):
        network.add_module(f"hidden{number}", _linear(width, hidden, gain=2))
        network.add_module(f"hidden_relu{number}", nn.ReLU())
        width = hidden
    network.add_module("head", _linear(width, num_classes, gain=1))
    return network


def _convolution(channels: int, width: int, size: int) -> nn.Conv2d:
    """Return a layer with He initialisation (He et al. 2015, arXiv:1502.01852), which counts only useful taps.

    On an image of a single pixel, eight of the nine taps see only padding. Torch counts all nine, which would
    divide the signal by three at each of the last layers, so that training would start on a plateau.
    """
    layer = nn.Conv2d(channels, width, kernel_size=3, padding=1)
    taps = 1 if size == 1 else 9
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (taps * channels)))
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
    return layer


def _linear(width: int, num_outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(width, num_outputs)
    nn.init.normal_(layer.weight, std=math.sqrt(gain / width))
    nn.init.zeros_(layer.bias)
    return layer
