"""The pretend GPU counts what a real one would do, refuses what it would refuse, and leaves nothing behind."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attrib_core import execution
from tests.gpu.pretend_gpu import Counts, pretend_gpu


def uploaded() -> Tensor:
    return torch.arange(4.0).to("gpu", non_blocking=True)


# What is done with a tensor of four numbers on the device, and kernels, uploads with and without a wait, downloads
# and reads that it asks for.
COSTS: dict[str, tuple[Callable[[Tensor], object], tuple[int, int, int, int, int]]] = {
    "nothing": (lambda _: None, (0, 0, 0, 0, 0)),
    "view": (lambda x: x.view(2, 2).T[0], (0, 0, 0, 0, 0)),
    "sum": (lambda x: x.add_(1).sum(), (2, 0, 0, 0, 0)),
    "factory": (lambda _: torch.zeros(3, device="gpu"), (1, 0, 0, 0, 0)),
    "upload": (lambda _: torch.ones(2).to("gpu"), (0, 1, 0, 0, 0)),
    "upload of a list": (lambda _: torch.tensor([1, 2], device="gpu"), (0, 1, 0, 0, 0)),
    "upload without a wait": (lambda _: torch.ones(2).to("gpu", non_blocking=True), (0, 0, 1, 0, 0)),
    "upload into a place": (lambda x: x.copy_(torch.ones(4), non_blocking=True), (0, 0, 1, 0, 0)),
    "download": (lambda x: x.cpu(), (0, 0, 0, 1, 0)),
    "download of a list": (lambda x: x.tolist(), (0, 0, 0, 1, 0)),
    "item": (lambda x: x[0].item(), (0, 0, 0, 0, 1)),
    "bool": (lambda x: bool((x > 0).all()), (2, 0, 0, 0, 1)),
    "where": (lambda x: torch.where(x > 1, x, 0), (3, 0, 0, 0, 0)),  # the number is filled in by a kernel
    "mask": (lambda x: x[x > 1], (2, 0, 0, 0, 1)),
    "indices": (lambda x: x[[0, 2]], (1, 1, 0, 0, 0)),
    "nonzero": (lambda x: x.nonzero(), (1, 0, 0, 0, 1)),
}


@pytest.mark.parametrize("name", COSTS)
def test_what_a_real_gpu_would_do_is_counted(gpu: Counts, name: str) -> None:
    work, costs = COSTS[name]
    tensor = uploaded()
    gpu.clear()
    work(tensor)
    counted = (
        *(gpu.num_kernels, gpu.blocking_uploads.total(), gpu.uploads.total()),
        *(gpu.downloads.total(), gpu.reads.total()),
    )
    assert counted == costs, gpu.report()


def test_a_place_is_the_line_that_asks(gpu: Counts) -> None:
    uploaded().cpu()
    [place] = gpu.waits
    assert place.startswith(__file__)
    assert place in gpu.report()


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.ones(4),
        lambda x: torch.cat([x, torch.ones(4)]),
        lambda x: torch.ones(4)[x > 1],
        lambda x: torch.where(torch.ones(4) > 0, x, x),
    ],
)
def test_tensors_of_mixed_devices_are_refused(gpu: Counts, mix: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        mix(uploaded())


def test_a_network_gives_the_numbers_of_the_cpu(gpu: Counts) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ).eval()
    images = torch.rand(2, 1, 4, 4)

    def gradient(at: Tensor) -> Tensor:
        at = at.requires_grad_()
        (found,) = torch.autograd.grad(network(at).square().sum(), at)
        return found

    expected = gradient(images.clone())
    network.to("gpu")
    assert torch.equal(gradient(images.to("gpu")).cpu(), expected)


def test_nothing_is_left_behind() -> None:
    make, choose = torch.tensor, execution._device
    with pretend_gpu() as counts:
        assert execution.choose_execution("gpu").device.type == "gpu"
        kept = uploaded()
    counts.clear()
    assert torch.tensor is make
    assert execution._device is choose
    assert not torch.accelerator.is_available()
    torch.ones(3).add_(1)
    assert counts.report() == Counts().report()
    with pytest.raises(ValueError, match="this machine has none"):
        execution.choose_execution("gpu")
    with pretend_gpu() as counts:
        assert kept.sum().item() == 6
        assert counts.num_waits == 1


def test_inference_mode_has_views(gpu: Counts) -> None:
    before = torch.ones(3, device="gpu")
    with torch.inference_mode():
        tensor = torch.zeros(3, device="gpu")
        tensor[1:].add_(before[1:])
    assert tensor[1:].sum().item() == 2
