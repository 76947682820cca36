"""Devices that this machine need not have: torch is made to say that they are there."""

from types import SimpleNamespace

import pytest
import torch

from attrib_core import devices
from attrib_core.attacks.mixed_precision import PRECISIONS as ATTACK_PRECISIONS
from attrib_core.devices import (
    bfloat16_is_slow,
    check_precision,
    describe_device,
    limit_to_share,
    without_gpus,
)
from attrib_core.execution import choose_execution

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that the driver counts, and that CUDA_VISIBLE_DEVICES hides."""
    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_execution().device == choose_execution("cuda").device == GPU
    assert choose_execution("cuda:1").device == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_execution().device == choose_execution("cuda").device == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="accepted are cpu, cuda:0, cuda:1, cuda"):
        choose_execution("cuda:2")


@pytest.mark.usefixtures("two_gpus")
def test_an_actor_without_a_gpu_stays_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with without_gpus():
        assert choose_execution().device == CPU
    assert choose_execution().device == GPU
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # as Ray may have set it; put back after the test
    limit_to_share(0)
    assert choose_execution().device == CPU


@pytest.mark.parametrize(("gpus", "fractions"), [(0.25, [0.25]), (1.0, []), (2.0, []), (0.0, [])])
def test_a_share_of_a_gpu_caps_its_memory(
    gpus: float, fractions: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    set_fractions: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", set_fractions.append)
    limit_to_share(gpus)
    assert set_fractions == fractions


@pytest.mark.parametrize(
    ("capability", "accepted"),
    [
        (None, {"float32", "bfloat16", "mixed"}),
        ((7, 5), {"float32", "float16"}),
        ((8, 0), set(ATTACK_PRECISIONS)),
        ((9, 0), set(ATTACK_PRECISIONS)),
    ],
    ids=["CPU", "T4", "A100", "H100"],
)
@pytest.mark.parametrize("precision", ATTACK_PRECISIONS)
def test_a_precision_that_the_device_only_emulates_is_refused(
    precision: str,
    capability: tuple[int, int] | None,
    accepted: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    device = CPU if capability is None else GPU
    if precision in accepted:
        check_precision(device, precision, ATTACK_PRECISIONS)
        return
    with pytest.raises(ValueError, match=f"precision='{precision}'.*accepted on .*float32") as refusal:
        check_precision(device, precision, ATTACK_PRECISIONS)
    named = set(str(refusal.value).rpartition(" are ")[2].split(", "))
    assert named == accepted


def test_a_gpu_is_described_by_all_that_decides_its_last_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    version = tmp_path / "version"
    module = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024"
    version.write_text(f"{module}\nGCC version: 12\n")
    monkeypatch.setattr(devices, "DRIVER_VERSION", version)
    card = SimpleNamespace(name="NVIDIA H100 80GB HBM3", major=9, minor=0, total_memory=85_000_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    described = describe_device(GPU, "tf32")
    assert described.pop("cuda") == str(torch.version.cuda)
    assert described.pop("cudnn") == str(torch.backends.cudnn.version())
    assert described == {
        "device": "cuda",
        "precision": "tf32",
        "matmul": "tf32",
        "convolution": "tf32",
        "name": "NVIDIA H100 80GB HBM3",
        "capability": "9.0",
        "memory": "85000000000 bytes",
        "driver": "550.54.15",
    }
    monkeypatch.setattr(devices, "DRIVER_VERSION", tmp_path / "absent")
    assert describe_device(GPU, "bfloat16") | {"driver": "unknown"} == describe_device(GPU, "bfloat16")
    assert describe_device(GPU, "bfloat16")["convolution"] == "ieee"
    assert describe_device(CPU, "float32")["device"] == "cpu"


@pytest.mark.parametrize(
    ("precision", "machine", "has_bf16", "has_amx", "slow"),
    [
        ("mixed", "x86_64", False, False, True),
        ("bfloat16", "x86_64", False, False, True),
        ("bfloat16", "x86_64", True, False, False),
        ("mixed", "x86_64", False, True, False),
        ("mixed", "aarch64", False, False, False),
        ("float32", "x86_64", False, False, False),
        ("float16", "x86_64", False, False, False),
    ],
)
def test_emulated_bfloat16_is_known(precision, machine, has_bf16, has_amx, slow, monkeypatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    assert bfloat16_is_slow(precision) is slow


def test_a_torch_that_does_not_know_the_processor_is_believed(monkeypatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert not bfloat16_is_slow("mixed")
