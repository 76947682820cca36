"""Random numbers that layers draw from torch's global generators, such as dropout's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def keyed_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's global generators, from which layers draw, and restore them afterwards."""
    is_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if is_cuda else []):
        torch.default_generator.manual_seed(seed)
        if is_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
