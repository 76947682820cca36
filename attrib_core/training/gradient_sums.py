"""Sums of the loss gradient and of its square over a training: a path integral over the weights.

The proposal is g = Σₙ ∇ₐ J(O(a; θₙ), y) over all states θₙ of a training, for one image a of label y.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Methods that need all states of a training: the first is the sum, the second its variance.
SUMMED_METHODS = ("training_integrated_gradient", "gradient_variance")


@dataclass
class GradientSums:
    """Sums over states, in float64; the sums of all segments of a training add up to those of the whole."""

    gradient: Tensor  # [B, C, H, W]
    square: Tensor  # [B, C, H, W]
    num_states: int = 0

    @classmethod
    def zeros(cls, *shape: int) -> "GradientSums":
        """Return empty sums."""
        return cls(torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64))

    def add(self, gradient: Tensor) -> None:
        """Add one state's loss gradient `[B, C, H, W]`."""
        precise = gradient.double()
        self.gradient += precise
        self.square.addcmul_(precise, precise)
        self.num_states += 1
