"""Small constants, such as a matrix of colours or a blur, made once for each device: an upload takes its time."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from attrib_core.execution import Execution


@lru_cache(maxsize=1024)  # small tensors; a stage may blur with another kernel at each step
def constant(make: Callable[..., Tensor], device: torch.device, *arguments: object) -> Tensor:
    """Return what `make` gives for the arguments on the CPU, on `device`. Nobody may change it."""
    # Made in inference mode, it could not take part in a later backward pass.
    with torch.inference_mode(False):
        return Execution(device).to_device(make(*arguments))
