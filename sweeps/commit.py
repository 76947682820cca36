"""How every sweep stores a shard: its images first, then the rows that name them, which are the commit."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from sweeps.plan import Shard
from sweeps.store import ImageFailure, RunDirectory


def commit_shard(
    run: RunDirectory,
    shard: Shard,
    attempt: int,
    images: Callable[[], pa.Table],
    rows: Callable[[str | None], pa.Table],
    failed_images: Sequence[ImageFailure] = (),
) -> dict[str, Any]:
    """Store one attempt at a shard and return a summary, which says whether this attempt was the first.

    `images` makes the table of images/, empty where none is stored; `rows` that of results/, given the name of
    the images' file or None. `failed_images` are those without rows. The seconds in the summary include the
    encoding of all.
    """
    start = time.perf_counter()
    table = images()
    image_file = run.put_images(shard.id, attempt, table) if len(table) else None
    won = run.commit(shard.id, rows(image_file), image_file, failed_images)
    return {
        "won": won,
        "cells": len(shard.cells),
        "failed_images": tuple(failed_images),
        "commit_seconds": time.perf_counter() - start,
    }
