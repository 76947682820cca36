"""Update rules that torch.optim does not have."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def fuse(optimizer: torch.optim.Optimizer) -> None:
    """Let Adam update all parameters in one kernel, which keeps its count of steps on the device."""
    if isinstance(optimizer, torch.optim.Adam):
        for group in optimizer.param_groups:
            if not group["differentiable"]:
                group["fused"], group["foreach"] = True, False


class SignDescent(torch.optim.Optimizer):
    """a ← a − lr · sign(gradient): the same step for every pixel, whatever the gradient's scale."""

    def __init__(self, parameters: list[Tensor], lr: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Apply the update to every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad.sign(), alpha=group["lr"])
