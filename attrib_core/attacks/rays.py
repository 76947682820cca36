"""Points along a ray from an image: one gradient an image serves every ε."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ray:
    """Points `start + ε · direction`, all `[B, C, H, W]`, kept in [0, 1] where `clip` says so."""

    start: Tensor
    direction: Tensor
    clip: bool

    def point(self, epsilon: float | Tensor) -> Tensor:
        """The points at one ε, or at one for each image `[B]`; memory of their own."""
        if isinstance(epsilon, Tensor):
            point = self.start + epsilon.to(self.start.dtype).view(-1, 1, 1, 1) * self.direction
        else:
            point = torch.add(self.start, self.direction, alpha=epsilon)
        return point.clamp_(0, 1) if self.clip else point

    def rows(self, chosen: Tensor) -> "Ray":
        """The rays of some of the images."""
        return Ray(self.start[chosen], self.direction[chosen], self.clip)
