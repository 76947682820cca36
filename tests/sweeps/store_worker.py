"""A process of its own for tests: `store_worker.py increment|commit URL NUMBER`."""

import itertools
import os
import sys

import pyarrow as pa

from sweeps.schemas import IMAGE_TYPE
from sweeps.store import RunDirectory

NUM_ROWS = 2000


def increment(run: RunDirectory, number: int) -> None:
    """Add one to the counter in sweep.json, so many times."""
    for _ in range(number):
        run.update_sweep(lambda sweep: {"count": (sweep or {"count": 0})["count"] + 1})


def commit(run: RunDirectory, number: int) -> None:
    """Commit shards until the process is killed; print `ready` after the first.

    A file has 10 MB, so that a reader would meet it half written.
    """
    for index in itertools.count():
        shard_id = f"worker{number}-{index}"
        image = {"bytes": os.urandom(10_000_000)}
        images = pa.table({"key": ["k"], "image": pa.array([image], IMAGE_TYPE)})
        image_file = run.put_images(shard_id, 1, images)
        rows = {
            "shard_id": [shard_id] * NUM_ROWS,
            "image_file": [image_file] * NUM_ROWS,
            "row": range(NUM_ROWS),
            "noise": [os.urandom(5000) for _ in range(NUM_ROWS)],
        }
        run.commit(shard_id, pa.table(rows), image_file)
        if index == 0:
            print("ready", flush=True)


if __name__ == "__main__":
    command, url, argument = sys.argv[1:]
    {"increment": increment, "commit": commit}[command](RunDirectory(url), int(argument))
