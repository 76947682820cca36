"""Layers of a user's network by name."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from attrib_core.prepared import PreparedModel
from attrib_core.references import unknown

LAYER = "layer"  # the setting that names one


def named_layer(where: str, network: nn.Module, name: str) -> nn.Module:
    """Return a layer by its name in the network. Raises ValueError for one that is not there."""
    layers: dict[str, nn.Module] = {each: module for each, module in network.named_modules() if each}
    if name not in layers:
        raise ValueError(f"{where}: {unknown(LAYER, name, layers)}")
    return layers[name]


def last_convolution(where: str, model: PreparedModel, height: int, width: int) -> tuple[str, list[int]]:
    """Return the last convolution that gives more than one pixel, and the size of what it gives.

    What is one pixel high and wide says nothing about places. Raises ValueError if there is no such convolution.
    """
    network, sizes = model.classifier.network, dict[str, list[int]]()
    image = torch.full((1, model.classifier.channels, height, width), 0.5)
    with _recording(network, sizes), torch.no_grad(), model.execution.autocast():
        model.classifier(model.images(image))  # one image is enough for the sizes
    found = [name for name, size in sizes.items() if max(size) > 1]
    if not found:
        layers = [each for each, _ in network.named_modules() if each]
        raise ValueError(
            f"{where}: the network has no convolution with more than one pixel; accepted is {LAYER}=NAME, "
            f"of {', '.join(layers[:20])}"
        )
    return found[-1], sizes[found[-1]]


@contextmanager
def _recording(network: nn.Module, sizes: dict[str, list[int]]) -> Iterator[None]:
    """Record the height and width of what each convolution gives, in the order in which they run."""

    def record(name: str, output: Tensor) -> None:
        sizes.pop(name, None)
        sizes[name] = list(output.shape[-2:])

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: record(name, output))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
