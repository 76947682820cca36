"""The loss gradient added up over a training, and its square: what a path integral over the weights needs.

The proposal is g = Σₙ ∇ₐ J(O(a; θₙ), y) over all states θₙ of a training, for one image a of label y.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Along training only: what each adds up.
SUMMED_METHODS = ("training_integrated_gradient", "gradient_variance")


@dataclass
class GradientSums:
    """Sums over states, in float64: of two stretches of a training they add up to those of the whole."""

    gradient: Tensor  # [B, C, H, W]
    square: Tensor  # [B, C, H, W]
    num_states: int = 0

    @classmethod
    def zeros(cls, *shape: int) -> "GradientSums":
        """Of no states yet."""
        return cls(torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64))

    def add(self, gradient: Tensor) -> None:
        """One more state's loss gradient `[B, C, H, W]`."""
        precise = gradient.double()
        self.gradient += precise
        self.square.addcmul_(precise, precise)
        self.num_states += 1
