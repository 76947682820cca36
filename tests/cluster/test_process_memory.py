"""Freed blocks stay with the process: the passes of a network meet no fresh pages."""

import subprocess
import sys
from pathlib import Path

CODE = """
import resource
import sys
import torch
from torch import nn
from cluster.process_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)
network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3))
images, kept = torch.rand(200, 1, 28, 28), []

def passes(count):
    for _ in range(count):
        leaf = images.clone().requires_grad_()
        kept.append(torch.autograd.grad(network(leaf).sum(), leaf)[0].abs().amax((1, 2, 3)))

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

passes(3)
before = faults()
passes(10)
print(faults() - before)
"""


def num_page_faults(memory: str) -> int:
    command = [sys.executable, "-c", CODE, memory]
    repository = Path(__file__).parents[2]
    return int(subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout)


def test_passes_of_a_network_use_freed_blocks_again() -> None:
    assert num_page_faults("keep") < 0.1 * num_page_faults("as it is")
