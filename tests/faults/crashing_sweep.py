"""`generate_all.py` whose actors die at the step of a commit that CRASH_ACTORS_AT names; its driver does not."""

import dataclasses
import os
import sys
from functools import partial
from typing import Any

from sweeps.cli import run_command
from sweeps.generate.job import GenerateJob
from sweeps.generate.rows import Computed
from sweeps.generate_all import GenerateOptions, generation_sweep
from sweeps.runner import run_sweep
from sweeps.store.crash_points import VARIABLE


class CrashingJob(GenerateJob):
    """Dies in its first commit."""

    def commit(self, computed: Computed, attempt: int) -> dict[str, Any]:
        os.environ[VARIABLE] = os.environ["CRASH_ACTORS_AT"]
        return super().commit(computed, attempt)


def run(options: GenerateOptions) -> int:
    """The sweep of the options, by the job that dies."""
    sweep = generation_sweep(options)
    return run_sweep(dataclasses.replace(sweep, factory=partial(CrashingJob, *sweep.factory.args)), options)


if __name__ == "__main__":
    sys.exit(run_command(GenerateOptions, run))
