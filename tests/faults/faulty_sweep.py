"""A sweep with a fault in its actors: FAULTY_SWEEP names the sweep, FAULT what goes wrong, FAULT_AT with what.

crash           the actor dies in its first commit, at the crash point FAULT_AT; its driver does not
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

    def __init__(self, factory: JobFactory, fault: str, fault_at: str, shared: Any) -> None:
        self._job, self._fault, self._at = factory(shared), fault, fault_at
        if fault == "out_of_memory":
            nn.modules.module.register_module_forward_pre_hook(partial(_refuse, int(fault_at)))

    def compute(self, shard: Shard) -> Any:
        if self._at in shard.id:
            if self._fault == "raise":
                raise ArithmeticError(f"{self._at} is poison")
            if self._fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._fault == "hang":
                time.sleep(3600)
        return self._job.compute(shard)

    def commit(self, computed: Any, attempt: int) -> dict[str, Any]:
        if self._fault == "crash":
            os.environ[VARIABLE] = self._at
        return self._job.commit(computed, attempt)


def _refuse(limit: int, module: nn.Module, arguments: tuple[Any, ...]) -> None:
    if isinstance(module, Classifier) and len(arguments[0]) > limit:
        raise torch.OutOfMemoryError(f"no room for {len(arguments[0])} images")


def main() -> int:
    """The command line of the sweep, whose job has the fault."""
    options_type, sweep_of = SWEEPS[os.environ["FAULTY_SWEEP"]]

    def run(options: Any) -> int:
        sweep = sweep_of(options)
        factory = partial(FaultyJob, sweep.factory, os.environ["FAULT"], os.environ["FAULT_AT"])
        return run_sweep(dataclasses.replace(sweep, factory=factory), options)

    return run_command(options_type, run)


if __name__ == "__main__":
    sys.exit(main())
