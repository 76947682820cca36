"""What an actor may use of a GPU is what the driver has decided, and sweep.json says what it was."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from attrib_core.execution import choose_execution
from sweeps.actor_device import DescribedJob, DeviceShare, DevicesSeen
from sweeps.cli import run_command
from sweeps.generate_all import GenerateOptions
from sweeps.runner import _begin_actor
from sweeps.store import RunDirectory
from sweeps.tune.trial import Trial

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
INVOCATION = {"started": "now"}


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that the driver counts, and that CUDA_VISIBLE_DEVICES hides; Ray leaves them visible."""
    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(str(tmp_path))
    run.update_sweep(lambda _: {"invocations": [INVOCATION]})
    return run


def begin_pool_actor(run: RunDirectory, share: DeviceShare) -> None:
    _begin_actor((), run, INVOCATION, share)


def begin_tune_actor(run: RunDirectory, share: DeviceShare) -> None:
    settings = SimpleNamespace(output=run.url, precision=share.precision)
    search: Any = SimpleNamespace(
        settings=settings,
        gpus_per_worker=share.gpus,
        codes=(),
        invocation=INVOCATION,
        shards={"a": ()},
    )
    trial = object.__new__(Trial)
    trial.setup({"recipe": "a"}, search, None)  # type: ignore[arg-type]


ACTORS = pytest.mark.parametrize("begin", [begin_pool_actor, begin_tune_actor])


@ACTORS
def test_an_actor_that_asked_for_no_gpu_stays_on_the_cpu(begin: Any, run: RunDirectory) -> None:
    assert choose_execution().device == GPU
    begin(run, DeviceShare(0, "float32"))
    assert choose_execution().device == CPU


@ACTORS
def test_an_actor_caps_its_memory_to_its_fraction(
    begin: Any, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fractions: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    card = SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=16_000_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    begin(run, DeviceShare(0.5, "float32"))
    assert fractions == [0.5]


@ACTORS
@pytest.mark.parametrize("precision", ["bfloat16", "tf32", "mixed"])
def test_an_actor_refuses_a_precision_that_its_gpu_lacks(
    begin: Any, precision: str, run: RunDirectory
) -> None:
    with pytest.raises(ValueError, match=f"precision='{precision}'.*Tesla T4.*float32, float16"):
        begin(run, DeviceShare(1, precision))


def test_the_driver_of_such_a_sweep_stays_on_the_cpu_too(tmp_path: Path) -> None:
    seen: list[torch.device] = []

    def look(_options: GenerateOptions) -> int:
        seen.append(choose_execution().device)
        return 0

    for gpus in ("0", "1"):
        run_command(GenerateOptions, look, ["--output", str(tmp_path), "--gpus-per-worker", gpus])
    assert seen == [CPU, GPU]
    assert choose_execution().device == GPU


def test_each_kind_of_device_is_listed_once(run: RunDirectory) -> None:
    class Job:
        def compute(self, shard: Any) -> str:
            return f"{shard} computed"

        def commit(self, computed: str, attempt: int) -> dict[str, Any]:
            return {"cells": 3}

    job = DescribedJob(Job(), {"device": "cuda", "name": "T4"})
    assert job.compute("a shard") == "a shard computed"
    summary = job.commit("a shard computed", 1)
    assert summary["cells"] == 3
    for _ in range(2):  # two commands, each with two such workers
        seen = DevicesSeen(run, print)
        for device in (summary["device"], {"device": "cpu", "name": "AVX512"}, summary["device"]):
            seen.add(device)
    sweep = run.read_sweep()
    assert sweep is not None
    assert sweep["devices"] == [{"device": "cuda", "name": "T4"}, {"device": "cpu", "name": "AVX512"}]
    assert sweep["invocations"] == [INVOCATION]  # by which an actor knows the run directory
