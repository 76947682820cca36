"""A sweep with a fault in its actors: FAULTY_SWEEP names the sweep, FAULT what goes wrong, FAULT_AT with what.

Several faults and what they befall have commas between them.

crash           the actor dies in its first commit, at the crash point FAULT_AT; its driver does not. Of several
                points, with + between them, each attempt at a shard dies at the next one
raise           computing a shard whose id holds FAULT_AT raises, always
kill            computing it kills the actor, always
hang            computing it never ends
out_of_memory   the classifier has no room for more than FAULT_AT images
"""

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from attrib_core.classifiers import Classifier
from cluster.pool import JobFactory
from sweeps.attack_all import AttackOptions, attack_sweep
from sweeps.attribute_all import AttributeOptions, attribute_sweep
from sweeps.cli import run_command
from sweeps.generate_all import GenerateOptions, generation_sweep
from sweeps.modify_all import ModifyOptions, modify_sweep
from sweeps.plan import Shard
from sweeps.runner import run_sweep
from sweeps.store.crash_points import VARIABLE

SWEEPS: dict[str, Any] = {
    "generate": (GenerateOptions, generation_sweep),
    "attack": (AttackOptions, attack_sweep),
    "attribute": (AttributeOptions, attribute_sweep),
    "modify": (ModifyOptions, modify_sweep),
}


class FaultyJob:
    """The job of a sweep, and its fault."""

    def __init__(self, factory: JobFactory, faults: dict[str, str], shared: Any) -> None:
        self._job, self._faults = factory(shared), faults
        if "out_of_memory" in faults:
            refuse = partial(_refuse, int(faults["out_of_memory"]))
            nn.modules.module.register_module_forward_pre_hook(refuse)

    def compute(self, shard: Shard) -> Any:
        for fault, at in self._faults.items():
            if fault in POISONS and at in shard.id:
                POISONS[fault](shard)
        return self._job.compute(shard)

    def commit(self, computed: Any, attempt: int) -> dict[str, Any]:
        if "crash" in self._faults:
            os.environ[VARIABLE] = self._faults["crash"].split("+")[attempt - 1]
        return self._job.commit(computed, attempt)


def _raise(shard: Shard) -> None:
    raise ArithmeticError(f"{shard.id} is poison")


def _kill(_shard: Shard) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(_shard: Shard) -> None:
    time.sleep(3600)


POISONS: dict[str, Callable[[Shard], None]] = {"raise": _raise, "kill": _kill, "hang": _hang}


def _refuse(limit: int, module: nn.Module, arguments: tuple[Any, ...]) -> None:
    if isinstance(module, Classifier) and len(arguments[0]) > limit:
        raise torch.OutOfMemoryError(f"no room for {len(arguments[0])} images")


def main() -> int:
    """Run the sweep's command line with a job that has the fault."""
    options_type, sweep_of = SWEEPS[os.environ["FAULTY_SWEEP"]]

    def run(options: Any) -> int:
        sweep = sweep_of(options)
        faults = dict(zip(os.environ["FAULT"].split(","), os.environ["FAULT_AT"].split(","), strict=True))
        factory = partial(FaultyJob, sweep.factory, faults)
        return run_sweep(dataclasses.replace(sweep, factory=factory), options)

    return run_command(options_type, run)


if __name__ == "__main__":
    sys.exit(main())
