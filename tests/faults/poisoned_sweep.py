"""`generate_all.py` with a fault in its code: one class makes the job raise."""

import dataclasses
import sys
from functools import partial

from sweeps.cli import run_command
from sweeps.generate.job import GenerateJob
from sweeps.generate.rows import Computed
from sweeps.generate_all import GenerateOptions, generation_sweep
from sweeps.plan import Shard
from sweeps.runner import run_sweep

POISON = 5


class FaultyJob(GenerateJob):
    """Cannot make images of one class."""

    def compute(self, shard: Shard) -> Computed:
        if any(class_index == POISON for _, class_index in shard.cells):
            raise ArithmeticError("the fifth class is poison")
        return super().compute(shard)


def run(options: GenerateOptions) -> int:
    """The sweep of the options, by the faulty job."""
    sweep = generation_sweep(options)
    return run_sweep(dataclasses.replace(sweep, factory=partial(FaultyJob, *sweep.factory.args)), options)


if __name__ == "__main__":
    sys.exit(run_command(GenerateOptions, run))
