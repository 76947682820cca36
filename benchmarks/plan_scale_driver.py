"""The driver that `plan_scale.py` watches: a sweep of any size whose jobs do nothing.

A program of its own, since Ray pickles the job of a `__main__` by value, and of nothing else.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from cluster.session import connect
from sweeps.cli import SweepOptions
from sweeps.plan import Axes, Shard
from sweeps.runner import run_sweep
from sweeps.schemas.axis_kinds import AxisKinds
from sweeps.sweep import Sweep

KINDS = AxisKinds(group=("recipe",), cells=("seed", "class_index"))


class NoOpJob:
    """Does nothing, but notes in `shared`, a folder, when it was first asked to, and for which shard."""

    def __init__(self, folder: Path) -> None:
        self._note: Path | None = folder / f"first-{os.getpid()}.json"

    def compute(self, shard: Shard) -> None:
        if self._note is not None:
            self._note.write_text(json.dumps({"time": time.time(), "shard": shard.id}))
            self._note = None

    def commit(self, _computed: None, _attempt: int) -> dict[str, Any]:
        return {"cells": 1}


def no_op_sweep(num_shards: int, notes: Path) -> Sweep:
    """Return the generation sweep's axes in shards of one cell: a thousand classes, or fewer, times seeds."""
    num_classes = min(num_shards, 1000)
    axes: Axes = {
        "recipe": ("default",),
        "seed": tuple(range(num_shards // num_classes)),
        "class_index": tuple(range(num_classes)),
    }
    return Sweep(
        name="no-op",
        kinds=KINDS,
        requested=(axes,),
        settings={},
        provenance={},
        shard_size=1,
        factory=NoOpJob,
        shared=notes,
        bytes_per_cell=0,
        warm_up=dict,
    )


def main(num_shards: int, output: Path, notes: Path) -> int:
    """Start Ray, then run the sweep until it is done or interrupted."""
    options = SweepOptions(output=str(output), num_workers=2, threads_per_worker=1)
    with connect("local", num_cpus=2):
        (notes / "start.json").write_text(json.dumps({"time": time.time()}))
        return run_sweep(no_op_sweep(num_shards, notes), options)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
