"""Layers of a user's network by name."""

from torch import nn

from attrib_core.references import unknown

LAYER = "layer"  # the setting that names one
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def chosen_layer(where: str, network: nn.Module, name: str | None) -> tuple[str, nn.Module]:
    """Return a layer by its name in the network; without a name, the last convolution.

    Raises ValueError for a name that the network does not have, and where there is no convolution.
    """
    layers = {each: module for each, module in network.named_modules() if each}
    if name is not None:
        if name not in layers:
            raise ValueError(f"{where}: {unknown(LAYER, name, layers)}")
        return name, layers[name]
    found = [each for each, module in layers.items() if isinstance(module, CONVOLUTIONS)]
    if not found:
        raise ValueError(
            f"{where}: the network has no convolution; accepted is {LAYER}=NAME, of {', '.join(list(layers)[:20])}"
        )
    return found[-1], layers[found[-1]]
