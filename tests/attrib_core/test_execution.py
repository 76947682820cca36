import pytest
import torch
from torch import nn

from attrib_core import execution as execution_module
from attrib_core.execution import (
    Execution,
    choose_execution,
    fastest_batch_size,
    is_device_failure,
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
    with pytest.raises(ValueError, match=r"precision='tf32'.*accepted on the CPU are float32, bfloat16"):
        choose_execution("cpu", "tf32")
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


# The size of a batch


class Device:
    """Counts images and tells the time that they would take; memory ends at `capacity` images."""

    def __init__(self, seconds: dict[int, float], capacity: int = 10**6) -> None:
        self.seconds, self.capacity, self.now = seconds, capacity, 0.0
        self.runs: list[int] = []

    def run(self, batch_size: int) -> None:
        self.runs.append(batch_size)
        if batch_size > self.capacity:
            raise torch.OutOfMemoryError("injected")
        first = self.runs.count(batch_size) == 1
        self.now += self.seconds[batch_size] + (100 if first else 0)  # the first run warms up

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "capacity", "fastest", "tried"),
    [
        ({1: 1, 2: 1, 4: 1, 8: 1}, 100, 8, [1, 2, 4, 8]),
        ({1: 1, 2: 1, 4: 3, 8: 1}, 100, 2, [1, 2, 4]),  # 8 is never tried: the climb is over
        ({8: 1.0, 16: 2.05, 32: 3.9}, 100, 32, [8, 16, 32]),  # 2.5 % slower is noise
        ({8: 1.0, 16: 2.12, 32: 3.9}, 100, 8, [8, 16]),
        ({8: 1, 16: 1, 32: 1}, 16, 16, [8, 16, 32]),
    ],
    ids=["bigger is faster", "a peak", "noise", "slower by 6 %", "memory ends the climb"],
)
def test_the_fastest_batch_size_is_found_by_climbing(
    seconds: dict[int, float], capacity: int, fastest: int, tried: list[int]
) -> None:
    device = Device(seconds, capacity)
    candidates = reversed(list(seconds))
    assert fastest_batch_size(device.run, candidates, num_trials=1, clock=device.clock) == fastest
    assert sorted(set(device.runs)) == tried


def test_a_real_run_is_timed() -> None:
    network = small_network()
    batch_size = fastest_batch_size(lambda size: network(torch.rand(size, 3, 16, 16)), [1, 4])
    assert batch_size in (1, 4)


def test_a_smallest_candidate_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        fastest_batch_size(Device({}, capacity=0).run, [1, 2])
    with pytest.raises(ValueError, match="candidates"):
        fastest_batch_size(Device({}).run, [])


def test_a_fault_of_the_run_itself_is_not_taken_for_memory() -> None:
    def run(batch_size: int) -> None:
        if batch_size == 2:
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        fastest_batch_size(run, [1, 2])


# Out of memory


def test_torchs_failure_on_the_cpu_counts_as_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as failure:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(failure.value)
    assert not is_out_of_memory(RuntimeError("a fault"))


@pytest.mark.parametrize(
    ("error", "memory", "device"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True, True),
        (RuntimeError("CUDA error: out of memory"), True, True),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            True,
            True,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, True),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
            True,
            True,
        ),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), True, True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False, True),
        (ValueError("the user's own words: out of memory"), False, False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_libraries_say_in_their_own_words_that_memory_ran_out(
    error: Exception, memory: bool, device: bool
) -> None:
    assert is_out_of_memory(error) == memory
    assert is_device_failure(error) == device


def test_the_climb_gives_its_memory_back_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[bool] = []
    monkeypatch.setattr(execution_module, "release_memory", lambda: released.append(True))
    fastest_batch_size(lambda size: None, [1])
    with pytest.raises(torch.OutOfMemoryError):
        fastest_batch_size(Device({}, capacity=0).run, [1])
    assert len(released) == 2


# Uploads


class Watched:
    """What stands for a tensor of pageable memory: it notes how it is copied."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.pinned = device, False

    def pin_memory(self) -> "Watched":
        pinned = Watched(self.device)
        pinned.pinned = True
        return pinned

    def to(self, device: torch.device, non_blocking: bool = False) -> tuple[bool, bool]:
        return self.pinned, non_blocking


@pytest.mark.parametrize(
    ("source", "target", "pinned", "non_blocking"),
    [
        ("cpu", "cpu", False, False),
        ("cpu", "cuda", True, True),
        ("cuda", "cuda", False, True),
        ("cuda", "cpu", False, False),  # else the host would read what has not arrived
        ("cpu", "meta", False, True),
    ],
)
def test_an_upload_does_not_make_the_host_wait(
    source: str, target: str, pinned: bool, non_blocking: bool
) -> None:
    tensor = Watched(torch.device(source))
    assert Execution(torch.device(target)).to_device(tensor) == (pinned, non_blocking)  # type: ignore
