"""What a training runs on, as far as it decides how numbers round: compared before a tape plays."""

from typing import Any, TypedDict

import torch

from attrib_core.execution import Execution

# Fields of a tape's header that only a GPU's tape has: on the CPU they are these.
OF_A_GPU: dict[str, Any] = {"precision": "float32", "card": None, "cuda": None, "cudnn": None}
# What must be the same on a GPU beside the kind of device. On the CPU the tape says how many threads play it, and
# another version of torch may well round in the same way: `Tape.check` finds out.
COMPARED_ON_A_GPU = ("card", "torch_version", "cuda", "cudnn", "precision", "channels_last")
ANEW = "record it anew in another --output"


class RunsOn(TypedDict):
    """Fields of a tape's header that say what it was recorded on."""

    device: str
    threads: int
    channels_last: bool
    torch_version: str
    precision: str
    card: str | None  # of a CUDA device, its name
    cuda: str | None
    cudnn: int | None


def runs_on(execution: Execution, threads: int) -> RunsOn:
    """Return what a training runs on in this process, with so many CPU threads."""
    is_cuda = execution.device.type == "cuda"
    return RunsOn(
        device=execution.device.type,
        threads=threads,
        channels_last=execution.channels_last,
        torch_version=torch.__version__,
        precision=execution.precision,
        card=torch.cuda.get_device_name(execution.device) if is_cuda else None,
        cuda=torch.version.cuda if is_cuda else None,
        cudnn=torch.backends.cudnn.version() if is_cuda else None,  # type: ignore[no-untyped-call]
    )


def why_it_cannot_play(recorded: RunsOn, running: RunsOn) -> str | None:
    """Return why a tape does not play here, and what to do; None if it does as far as can be told before."""
    if recorded["device"] != running["device"]:
        return _other_device(recorded, running)
    if recorded["device"] == "cpu":
        return None
    now: dict[str, Any] = dict(running)
    before = {name: value for name, value in recorded.items() if value is not None}
    different = [
        f"{name}: recorded {before[name]!r}, here {now[name]!r}"
        for name in COMPARED_ON_A_GPU
        if name in before and before[name] != now[name]
    ]
    if not different:
        return None
    return f"{'; '.join(different)}: numbers round differently; play it where it was recorded, or {ANEW}"


def _other_device(recorded: RunsOn, running: RunsOn) -> str:
    what = f"recorded on {_named(recorded)}, while this process has {_named(running)}"
    if recorded["device"] == "cpu":
        return f"{what}; play it on the CPU (--gpus-per-worker 0), or {ANEW}"
    return f"{what}; play it on such a device (--gpus-per-worker 1), or {ANEW}"


def _named(where: RunsOn) -> str:
    return "the CPU" if where["device"] == "cpu" else f"{where['device']} ({where['card'] or 'no name'})"
