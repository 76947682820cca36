"""Perturbed images that scores ask about, drawn for each image by its key."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.seeding import Randomness


@dataclass(frozen=True)
class Squares:
    """Images of which a square window is blackened in all channels, at S random places in each."""

    images: Tensor  # [B, C, H, W]
    corners: Tensor  # [B, S, 2], the window's first row and column
    side: int  # of the window, in pixels

    @classmethod
    def drawn(cls, images: Tensor, side: int, num_samples: int, randomness: Randomness) -> "Squares":
        """Draw places from the uniform distribution over those at which the window is whole."""
        places = torch.tensor(images.shape[-2:]) - side + 1
        on_host = lambda drawn: (drawn.uniform(0, 1, num_samples, 2) * places).long().minimum(places - 1)  # noqa: E731
        return cls(images, randomness.on_host(on_host), side)

    def changes(self) -> Tensor:
        """Return which windows cover a pixel that is not black, and so change the image: `[B, S]`."""
        return self._windows((self.images != 0).any(1)).any(2)

    def blackened(self, image: Tensor, sample: Tensor) -> Tensor:
        """Return the perturbed images `[N, C, H, W]` of the pairs (image, sample), `[N]` each."""
        top, left = self.corners[image, sample].unbind(1)
        height, width = self.images.shape[-2:]
        covered = self._covered(top, height)[:, None, :, None] & self._covered(left, width)[:, None, None, :]
        return self.images[image].masked_fill_(covered, 0)

    def sums(self, values: Tensor) -> Tensor:
        """Return the sums `[B, S]` of values `[B, C, H, W]` over the pixels of each window, in float64."""
        return self._windows(values.sum(1, dtype=torch.float64)).sum(2)

    def _windows(self, pixels: Tensor) -> Tensor:
        """Return what each window covers of `[B, H, W]`: `[B, S, side · side]`."""
        every = pixels.unfold(1, self.side, 1).unfold(2, self.side, 1)
        image = torch.arange(len(pixels), device=pixels.device)[:, None]
        return every[image, self.corners[..., 0], self.corners[..., 1]].flatten(2)

    def _covered(self, start: Tensor, length: int) -> Tensor:
        positions = torch.arange(length, device=start.device)
        return (positions >= start[:, None]) & (positions < start[:, None] + self.side)


def noisy(images: Tensor, num_samples: int, draw: Callable[..., Tensor], size: int) -> Iterator[Tensor]:
    """Yield images `[B, C, H, W]` plus noise that `draw` makes of a shape: `[S, B, C, H, W]`, not clipped.

    As many samples at a time as `size` images hold, and at least one: so passes are full where images are few,
    and memory holds no more than a pass where they are many.
    """
    at_once = max(1, size // len(images))
    for start in range(0, num_samples, at_once):
        count = min(at_once, num_samples - start)
        yield torch.stack([images + draw(*images.shape[1:]) for _ in range(count)])


def randomness_of(score: str, images: Tensor, keys: Sequence[int], seed: int) -> Randomness:
    """Return the random numbers of a score for images `[B, C, H, W]` of these keys, by default their positions."""
    keys = tuple(keys) or tuple(range(len(images)))
    return Randomness([(seed, score, int(key)) for key in keys], images.device)


def pixel_sum(values: Tensor) -> Tensor:
    """Return the sum `[...]` of values `[..., C, H, W]` over their last three dimensions, in float64."""
    # Row by row: with one number for each image, torch would split the sum of a single one among its threads.
    return values.flatten(-3, -2).sum(-1, dtype=torch.float64).sum(-1)
