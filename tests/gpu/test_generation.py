"""Generation on the pretend GPU: no step makes the host wait, and an image does not depend on its neighbours."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from attrib_core.classifiers import Checkpoint, Classifier, read_checkpoint
from attrib_core.generation import RECIPES, Cell, Generated, generate_batch
from attrib_core.prepared import PreparedModel, prepare
from sweeps.generate.job import GenerateJob, GenerateSettings, Weights
from sweeps.generate.rows import JudgedShard
from sweeps.plan import Shard
from tests.gpu.pretend_gpu import Counts

SIZE = 32
STEPS = 8
CELLS = [Cell(1, 0), Cell(4, 2), Cell(0, 1)]
# Kernels of a step at most. The network below takes 11 of them.
MOST_KERNELS = {
    "plain": 33,
    "blur": 35,
    "blur_resize": 36,
    "blur_resize_jitter": 43,
    "transform": 70,
    "octaves": 36,
    "softmax_loss": 29,
    "sign": 23,
    "noise_long": 22,
    "lucid": 64,
    "small": 83,
    "fast": 131,
    "default": 231,
    "best": 4 * 233,
}


@pytest.fixture
def model(gpu: Counts) -> PreparedModel:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    network = nn.Sequential(*layers, nn.Linear(32, 5))
    return prepare(Classifier.wrap(network, image_size=SIZE), device="gpu", batch_size=4)


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
        # For the copy of the finished batch, and for the choice of a sketch, of each candidate.
        recipe = RECIPES[name]
        assert gpu.num_waits == recipe.num_candidates * min(recipe.num_sketches, 2), gpu.report()
        kernels.append(gpu.num_kernels)
    assert (kernels[1] - kernels[0]) / STEPS <= MOST_KERNELS[name], gpu.kernels


@pytest.mark.parametrize("name", RECIPES)
def test_an_image_is_the_same_in_another_place_among_others(model: PreparedModel, name: str) -> None:
    among = run(model, name, 4)
    elsewhere = run(model, name, 4, [Cell(2, 7), Cell(2, 5), CELLS[1], Cell(3, 0)])
    assert torch.equal(elsewhere.images[2], among.images[1])
    assert torch.equal(elsewhere.loss_by_step[2], among.loss_by_step[1])


def test_torchs_own_gradients_are_taken_where_images_need_not_be_the_same(
    gpu: Counts, model: PreparedModel
) -> None:
    recipe = RECIPES["default"].with_num_steps(STEPS)
    gpu.clear()
    generate_batch(model, recipe, CELLS, sweep_seed=3, image_size=SIZE, repeatable=False)
    others = (recipe.num_sketches - 1) * recipe.stages[0].num_steps
    assert gpu.kernels["grid_sampler_2d_backward"] == STEPS + others
    assert not gpu.kernels["index_add_"]
    gpu.clear()
    generate_batch(model, recipe, CELLS, sweep_seed=3, image_size=SIZE)
    assert not gpu.kernels["grid_sampler_2d_backward"] + gpu.kernels["upsample_bilinear2d_backward"]


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return read_checkpoint("fashion_deep")


def judged(checkpoint: Checkpoint, device: str) -> JudgedShard:
    """Generate and judge images of Fashion-MNIST's classes, with frames of one of them."""
    settings = GenerateSettings(
        output="unused",
        recipes={"small": RECIPES["small"]},
        image_size=28,
        num_steps=4,
        input_scaling="model",
        sweep_seed=0,
        frames=frozenset([2]),
        frame_every=2,
        batch_size=4,
        precision="float32",
        device=device,
    )
    job = GenerateJob(settings, Weights(model=checkpoint, judges={"fashion_deep": checkpoint}))
    return job.compute(Shard("shard", {"recipe": "small"}, ((0, 1), (0, 2), (1, 5))))


def test_a_job_runs_on_one_device_and_gives_what_the_cpu_gives(gpu: Counts, checkpoint: Checkpoint) -> None:
    (batch,), (expected,) = judged(checkpoint, "gpu").batches, judged(checkpoint, "cpu").batches
    torch.testing.assert_close(batch.generated.images, expected.generated.images, rtol=0, atol=1e-3)
    assert [frame.step for frame in batch.frames] == [0, 2, 4]
    for frame, other in zip(batch.frames, expected.frames, strict=True):
        assert (frame.cell, frame.step) == (other.cell, other.step)
        assert frame.image.device.type == "cpu"
        assert (frame.image.int() - other.image.int()).abs().max() <= 1
    assert batch.evaluation.judges["fashion_deep"].top1.tolist() == batch.evaluation.model.top1.tolist()
