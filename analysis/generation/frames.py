"""What a generation sweep stored of chosen classes: the image at every k-th step, with all logits.

rows = frame_rows("runs/generate")  # a row per stored step, without pixels and logits
images, logits = frame_values("runs/generate", rows[rows["class_index"] == 980])
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.drawing.pixels import Pixels
from analysis.image_files import decode_png, open_images
from analysis.run import AnyRun, open_sweep, opened
from sweeps.store import RunDirectory
from sweeps.store.errors import explained

GENERATE = "generate"

_CELL = ["recipe", "class_index", "seed"]
_OF_CELL = ["model", "class_name", "num_steps", "image_file"]
_NUM_READERS = 8

_COMMAND = "python sweeps/generate_all.py --frames CLASSES --frame-every STEPS --output NEW_RUN"


def frame_rows(run: AnyRun) -> pd.DataFrame:
    """Return a row per stored step of the images that have frames, sorted by recipe, class, seed and step.

    Columns: `recipe`, `class_index`, `seed`, `step`, `key` (of the image in `image_file`), and from the results
    `class_name`, `num_steps` and `model`. The last step is that of the finished image. Raise ValueError for
    another sweep's run, an empty one, and one that stored no frames, with the command that does.
    """
    generation = open_sweep(run, GENERATE)
    directory = generation.directory
    cells = generation.results([*_CELL, *_OF_CELL])
    files = sorted(cells["image_file"].dropna().unique())
    with explained(directory.url, "read"), ThreadPoolExecutor(_NUM_READERS) as pool:
        parts = list(pool.map(lambda name: _read_keys(directory, name), files))
    steps = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["step", *_CELL])
    # An image without frames has one row, that of its last step.
    steps = steps[steps.groupby(_CELL)["step"].transform("size") > 1]
    if steps.empty:
        raise ValueError(
            f"{directory.url} has no frames, only finished images; they are stored by {_COMMAND}"
        )
    # An attempt that died may have left an image file; no row of the results names it, so the merge drops it.
    cells = cells.astype({"recipe": "str", "image_file": "str"})
    rows = steps.merge(cells, on=[*_CELL, "image_file"], validate="many_to_one")
    return rows.sort_values([*_CELL, "step"], ignore_index=True)


def frame_values(run: AnyRun, rows: pd.DataFrame) -> tuple[list[Pixels], NDArray[np.float32]]:
    """Return the images `[H, W, C]` and the logits `[S, N]` of rows of `frame_rows`, in their order."""
    directory = opened(run).directory
    with explained(directory.url, "read"):
        parts = [_read_frames(directory, name, set(part["key"])) for name, part in rows.groupby("image_file")]
    found = pa.concat_tables(parts).to_pandas().set_index("key").loc[rows["key"]]
    images = [decode_png(key, image["bytes"]) for key, image in zip(rows["key"], found["image"], strict=True)]
    return images, np.stack(found["logits"].to_list())


def _read_keys(directory: RunDirectory, name: str) -> pd.DataFrame:
    """Return what identifies each image of a file, without its pixels."""
    rows: pd.DataFrame = open_images(directory, name).read(columns=["key", *_CELL, "step"]).to_pandas()
    return rows.assign(image_file=name)


def _read_frames(directory: RunDirectory, name: str, keys: set[str]) -> pa.Table:
    """Return the rows of these keys; only row groups that hold one are read."""
    parquet, parts = open_images(directory, name), []
    wanted = pa.array(sorted(keys))
    for group in range(parquet.num_row_groups):
        in_group = parquet.read_row_group(group, columns=["key"])["key"]
        if keys.isdisjoint(in_group.to_pylist()):
            continue
        table = parquet.read_row_group(group, columns=["key", "image.bytes", "logits"])
        parts.append(table.filter(pa.compute.is_in(table["key"], wanted)))
    return pa.concat_tables(parts)
