"""Several tensors of a device as one copy to the host, which then waits once."""

import torch
from torch import Tensor


def packed_copy(**tensors: Tensor) -> dict[str, Tensor]:
    """Return the tensors, whatever their shapes and dtypes, on the CPU, where they may be already."""
    if all(each.device.type == "cpu" for each in tensors.values()):
        return tensors
    # Wide numbers first, so that each tensor begins at a multiple of the width of its numbers.
    ordered = sorted(tensors, key=lambda name: -tensors[name].element_size())
    as_bytes = [tensors[name].contiguous().flatten().view(torch.uint8) for name in ordered]
    parts = torch.split(torch.cat(as_bytes).cpu(), [len(each) for each in as_bytes])
    return {
        name: part.view(tensors[name].dtype).view(tensors[name].shape)
        for name, part in zip(ordered, parts, strict=True)
    }
