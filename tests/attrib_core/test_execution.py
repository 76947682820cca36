import pytest
import torch
from torch import nn

from attrib_core.execution import (
    Execution,
    choose_execution,
    is_out_of_memory,
)

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU does")


def small_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()


# Device, memory format, precision


@NO_CUDA
def test_without_a_gpu_the_cpu_is_chosen() -> None:
    assert choose_execution() == Execution(torch.device("cpu"), "float32", channels_last=True, compile=False)


@NO_CUDA
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "gpu", "mps", torch.device("cuda:3")])
def test_a_device_that_is_not_there_is_refused(device: str | torch.device) -> None:
    with pytest.raises(ValueError, match=f"device='{device}'.*accepted are cpu"):
        choose_execution(device)


def test_a_precision_that_the_device_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"precision='float16'.*accepted on the CPU are float32, bfloat16"):
        choose_execution("cpu", "float16")
    with pytest.raises(ValueError, match=r"precision='half'.*float32, bfloat16, float16"):
        choose_execution("cpu", "half")


def test_preparing_keeps_the_numbers() -> None:
    network, images = small_network(), torch.rand(2, 3, 16, 16)
    expected = network(images)
    execution = choose_execution("cpu")
    prepared = execution.prepare(network)
    assert prepared is network
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert execution.images(images).is_contiguous(memory_format=torch.channels_last)
    with execution.autocast():
        torch.testing.assert_close(prepared(execution.images(images)), expected)


def test_channels_last_can_be_left_out() -> None:
    execution = Execution(torch.device("cpu"), channels_last=False)
    assert execution.prepare(small_network())[0].weight.is_contiguous()
    assert execution.images(torch.rand(2, 3, 16, 16)).is_contiguous()


def test_bfloat16_is_for_the_forward_pass_alone() -> None:
    execution = choose_execution("cpu", "bfloat16")
    network = execution.prepare(small_network())
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    with execution.autocast():
        outputs = network(execution.images(images))
    assert outputs.dtype == torch.bfloat16
    assert network[0].weight.dtype == torch.float32
    assert torch.autograd.grad(outputs.float().sum(), images)[0].dtype == torch.float32
    torch.testing.assert_close(outputs.float(), network(images), rtol=0.05, atol=0.05)


# Out of memory


def test_torchs_failure_on_the_cpu_counts_as_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as failure:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(failure.value)
    assert not is_out_of_memory(RuntimeError("a fault"))
