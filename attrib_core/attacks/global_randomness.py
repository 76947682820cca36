"""Other people's attacks draw from global generators; here they do so in a fork that is seeded."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded_globally(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python for as long as the context lasts, then restore them.

    A generator that code makes for itself, such as `numpy.random.default_rng()`, is not reached.
    """
    gpus = [device] if device.type == "cuda" else []
    state_of_numpy, state_of_python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state_of_numpy)
            random.setstate(state_of_python)
