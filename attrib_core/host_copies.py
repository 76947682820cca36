"""Tensors of a device on the host, brought there in one copy, so that the host waits once for all of them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def host_copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors on the CPU, in their order. Those that are there already are returned as they are.

    The others share the memory of one copy, and are contiguous.
    """
    away = [position for position, tensor in enumerate(tensors) if tensor.device.type != "cpu"]
    # Wide numbers first: then each begins at a multiple of its own width.
    away.sort(key=lambda position: -tensors[position].element_size())
    found = list(tensors)
    if not away:
        return found
    parts = [tensors[position].detach().contiguous().flatten().view(torch.uint8) for position in away]
    copy = torch.cat(parts).cpu()
    for position, part in zip(away, torch.split(copy, [len(each) for each in parts]), strict=True):
        found[position] = part.view(tensors[position].dtype).view(tensors[position].shape)
    return found
