"""Generation on the pretend GPU: a step never makes the host wait, and kernels a step do not creep up."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from attrib_core.classifiers import Classifier
from attrib_core.generation import RECIPES, Cell, Generated, generate_batch
from attrib_core.prepared import PreparedModel, prepare
from tests.gpu.pretend_gpu import Counts

SIZE = 32
STEPS = 10
CELLS = [Cell(1, 0), Cell(4, 2), Cell(0, 1)]
# Kernels of a step at most, of which a pass of the network below takes about 20.
MOST_KERNELS = dict.fromkeys(RECIPES, 200)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(32, 5))


@pytest.fixture
def model(gpu: Counts) -> PreparedModel:
    return prepare(Classifier.wrap(network(), image_size=SIZE), device="gpu", batch_size=4)


def run(model: PreparedModel, name: str, num_steps: int, cells: Sequence[Cell] = CELLS) -> Generated:
    recipe = RECIPES[name].with_num_steps(num_steps)
    return generate_batch(model, recipe, cells, sweep_seed=3, image_size=SIZE)


@pytest.mark.parametrize("name", RECIPES)
def test_no_step_makes_the_host_wait(gpu: Counts, model: PreparedModel, name: str) -> None:
    run(model, name, 2 * STEPS)  # each size of views is tried once, and constants are uploaded
    kernels = []
    for num_steps in (STEPS, 2 * STEPS):
        gpu.clear()
        run(model, name, num_steps)
        assert gpu.num_waits == 1, gpu.report()  # for the copy of the finished batch
        kernels.append(gpu.num_kernels)
    a_step = (kernels[1] - kernels[0]) / STEPS
    print(name, a_step, gpu.report(), gpu.kernels)
    assert a_step <= MOST_KERNELS[name]
