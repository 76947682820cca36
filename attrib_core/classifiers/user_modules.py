"""What a user's function returned, checked and copied: a module or a classifier on the CPU, in float32."""

from typing import Any

import torch
from torch import nn

from attrib_core.classifiers.classifier import Classifier
from attrib_core.classifiers.wrapping import copied_network

ACCEPTED = "accepted is a torch.nn.Module or Classifier.wrap(network, ...)"


def checked_module(where: str, made: Any) -> nn.Module:
    """Return the module or classifier without a wrapper around it; ValueError for what cannot be used."""
    if isinstance(made, type):
        raise ValueError(
            f"{where}: it returned the class {made.__name__}; accepted is an instance, {made.__name__}()"
        )
    if not isinstance(made, nn.Module):
        raise ValueError(f"{where}: it returned {_described(made)}; {ACCEPTED}")
    module = _unwrapped(made)
    devices = {tensor.device.type for tensor in (*module.parameters(), *module.buffers())}
    if "meta" in devices:
        raise ValueError(
            f"{where}: its weights are on the meta device, without values; accepted is any other device"
        )
    types = {tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()} - {torch.float32}
    if types:
        names = ", ".join(sorted(str(each).removeprefix("torch.") for each in types))
        raise ValueError(
            f"{where}: its weights are {names}; accepted is float32, such as network.float() gives"
        )
    return module


def trainable_copy(made: nn.Module) -> nn.Module:
    """Return a copy of the network on the CPU, in eval mode.

    Parameters that the user froze stay frozen. A classifier froze all of its own, so that they are all freed.
    Raises ValueError for a network that cannot be copied.
    """
    given = made.network if isinstance(made, Classifier) else made
    network = copied_network(given).to("cpu")
    for own, before in zip(network.parameters(), given.parameters(), strict=True):
        own.requires_grad_(before.requires_grad or (isinstance(made, Classifier) and own.is_floating_point()))
    return network


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside DataParallel or torch.compile: the same weights, under their own names."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return _unwrapped(module.module)
    compiled = getattr(module, "_orig_mod", None)
    return _unwrapped(compiled) if isinstance(compiled, nn.Module) else module


def _described(made: Any) -> str:
    if made is None:
        return "None"
    return f"a {type(made).__name__}"
