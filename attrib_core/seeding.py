"""Random numbers that depend on the image alone, not on its batch, its worker or the time.

Every draw comes from a generator whose key says what the draw is for: (sweep seed, class, seed, step) for a
generated image. So an image is the same alone, in any batch, and after a run is resumed.
"""

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

Key = tuple[int | str, ...]


def derive_seed(*key: int | str) -> int:
    """Return a 63-bit seed from the BLAKE2b digest of the key; ("a", 1) and ("a1",) differ."""
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*key: int | str) -> torch.Generator:
    """Return a CPU generator seeded by the key; its draws do not depend on the device that uses them."""
    return torch.Generator().manual_seed(derive_seed(*key))


@contextmanager
def global_randomness(seed: int | None = None) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, and give back their states afterwards.

    For code of others, which may draw from them: what it draws depends on the seed alone, and nobody else notices.
    Without a seed torch's goes on, and NumPy's and Python's follow from its seed. A generator that code makes for
    itself, such as `numpy.random.default_rng()`, is not reached.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    # Asking for the state of a CUDA generator would start CUDA in a process that does not use it.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        try:
            if seed is not None:
                torch.default_generator.manual_seed(seed)
                if devices:
                    torch.cuda.manual_seed_all(seed)
            now = torch.default_generator.initial_seed()
            np.random.seed(now % 2**32)
            random.seed(now)
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


class Randomness:
    """The random numbers of a batch; each image draws from a generator of its own.

    Draws are `[B, *shape]` on `device`. They continue each image's stream, so changing the order of the draws
    within a step changes the images. The first `num_uniform` numbers of each image are drawn in one piece: the
    numbers are the same, and with many images this takes a fifth of the time.
    """

    def __init__(
        self, keys: Iterable[Key], device: torch.device | str = "cpu", *, num_uniform: int = 0
    ) -> None:
        self._keys = tuple(keys)
        self._generators = [generator(*key) for key in self._keys]
        self._device = torch.device(device)
        self._drawn = self._rand(num_uniform) if num_uniform else None  # [B, num_uniform]
        self._num_used = 0  # numbers of an image that were taken from those

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw from the uniform distribution on [low, high)."""
        return self._uploaded(self._uniform(shape) * (high - low) + low)

    def normal(self, *shape: int) -> Tensor:
        """Draw from the standard normal distribution."""
        self._give_back()
        return self._uploaded(torch.stack([torch.randn(shape, generator=each) for each in self._generators]))

    def on_host(self, compute: Callable[["Randomness"], Tensor]) -> Tensor:
        """Return what `compute` makes `[B, ...]` of draws on the CPU, on `device`.

        So a few numbers an image that follow from draws take no kernels, and are the same on every device.
        """
        device, self._device = self._device, torch.device("cpu")
        try:
            return compute(self).to(device)
        finally:
            self._device = device

    def _uploaded(self, draws: Tensor) -> Tensor:
        """Return draws on the device; the host does not wait for the copy."""
        if self._device.type == "cuda":
            draws = draws.pin_memory()
        return draws.to(self._device, non_blocking=True)

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        end = self._num_used + math.prod(shape)
        if self._drawn is not None and end <= self._drawn.shape[1]:
            drawn = self._drawn[:, self._num_used : end].reshape(-1, *shape)
            self._num_used = end
            return drawn
        self._give_back()
        return self._rand(*shape)

    def _rand(self, *shape: int) -> Tensor:
        return torch.stack([torch.rand(shape, generator=each) for each in self._generators])

    def _give_back(self) -> None:
        """Give back numbers that were drawn and not used, so that the streams go on where they would be."""
        if self._drawn is None:
            return
        if self._num_used < self._drawn.shape[1]:
            self._generators = [generator(*key) for key in self._keys]
            self._rand(self._num_used)
        self._drawn = None
