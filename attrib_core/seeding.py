"""Random numbers that belong to an image, not to its batch, its worker or the clock.

Every draw comes from a generator keyed by what it is for, (sweep seed, class, seed, step) for a generated
image, so that an image is the same alone, in a batch of other neighbours, and after a resumed run.
"""

import hashlib
import json
from collections.abc import Iterable

import torch
from torch import Tensor

Key = tuple[int | str, ...]


def derive_seed(*key: int | str) -> int:
    """A 63-bit seed from the BLAKE2b digest of the key; ("a", 1) and ("a1",) differ."""
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by the key: CPU draws are the same numbers whatever device they move to."""
    return torch.Generator().manual_seed(derive_seed(*key))


class Randomness:
    """The random numbers of a batch, each image drawing from a generator of its own.

    Tensors come back as `[B, *shape]` on `device`. Successive draws continue each image's stream, so the
    order of draws within a step is part of a recipe.
    """

    def __init__(self, keys: Iterable[Key], device: torch.device | str = "cpu") -> None:
        self._generators = [generator(*key) for key in keys]
        self._device = device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draws from [low, high)."""
        draws = [torch.rand(shape, generator=each) for each in self._generators]
        return (torch.stack(draws) * (high - low) + low).to(self._device)

    def normal(self, *shape: int) -> Tensor:
        """Draws from the standard normal distribution."""
        return torch.stack([torch.randn(shape, generator=each) for each in self._generators]).to(self._device)
