"""Freed blocks stay with the process: the passes of a network meet no fresh pages."""

import json
import subprocess
import sys
from pathlib import Path

# Each measurement has a process of its own, forked before torch has computed anything: torch is imported once.
CODE = """
import json
import os
import resource
import torch
from torch import nn
from cluster.process_memory import keep_freed_memory

def measure():
    torch.set_num_threads(1)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3)
    )
    images, kept = torch.rand(200, 1, 28, 28), []

    def passes(count):
        for _ in range(count):
            leaf = images.clone().requires_grad_()
            kept.append(torch.autograd.grad(network(leaf).sum(), leaf)[0].abs().amax((1, 2, 3)))

    passes(3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    passes(10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for name in ("default", "keep"):
    child = os.fork()
    if child == 0:
        if name == "keep":
            assert keep_freed_memory()
        print(json.dumps({name: measure()}), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def num_page_faults() -> dict[str, int]:
    """Return the page faults of ten passes, with freed memory kept and by default."""
    repository = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=repository, capture_output=True, text=True, check=True
    )
    default, keep = map(json.loads, done.stdout.splitlines())
    return default | keep


def test_passes_of_a_network_use_freed_blocks_again() -> None:
    found = num_page_faults()
    assert found["keep"] < 0.1 * found["default"]
