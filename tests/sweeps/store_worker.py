"""A process of its own for tests: `store_worker.py increment|commit URL NUMBER`."""

import itertools
import os
import sys

import pyarrow as pa

from sweeps.schemas import IMAGE_TYPE
from sweeps.store import RunDirectory


def increment(run: RunDirectory, number: int) -> None:
    """Adds one to the counter in sweep.json, so many times."""
    for _ in range(number):
        run.update_sweep(lambda sweep: {"count": (sweep or {"count": 0})["count"] + 1})


def commit(run: RunDirectory, number: int) -> None:
    """Commits shards with 300 kB of images until it is killed."""
    for index in itertools.count():
        shard_id = f"worker{number}-{index}"
        images = pa.table({"key": ["k"], "image": pa.array([{"bytes": os.urandom(300_000)}], IMAGE_TYPE)})
        image_file = run.put_images(shard_id, 1, images)
        rows = pa.table(
            {"shard_id": [shard_id] * 2000, "image_file": [image_file] * 2000, "row": range(2000)}
        )
        run.commit(shard_id, rows, image_file)
        if index == 0:
            print("ready", flush=True)


if __name__ == "__main__":
    command, url, argument = sys.argv[1:]
    {"increment": increment, "commit": commit}[command](RunDirectory(url), int(argument))
