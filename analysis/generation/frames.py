"""What a generation sweep stored of chosen classes: the image at every k-th step, with all logits.

rows = frame_rows("runs/generate")  # a row per stored step, without pixels and logits
images, logits = frame_values("runs/generate", rows[rows["class_index"] == 980])
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis import load
from analysis.attribution.attributions import require_sweep
from analysis.drawing.pixels import Pixels
from sweeps.store import RunDirectory
from sweeps.store.errors import explained
from sweeps.store.maintenance import open_run

GENERATE = "generate"

_CELL = ["recipe", "class_index", "seed"]
_OF_CELL = ["model", "class_name", "num_steps", "image_file"]
_NUM_READERS = 8

_COMMAND = "python sweeps/generate_all.py --frames CLASSES --frame-every STEPS --output NEW_RUN"


def frame_rows(run: str | Path) -> pd.DataFrame:
    """A row per stored step of the images that have frames, sorted by recipe, class, seed and step.

    Columns: `recipe`, `class_index`, `seed`, `step`, `key` (of the image in `image_file`), and from the results
    `class_name`, `num_steps` and `model`. The last step is that of the finished image. Raises ValueError for
    another sweep's run, an empty one, and one that stored no frames, with the command that does.
    """
    require_sweep(run, GENERATE)
    directory = open_run(str(run))
    cells = load.results(run, [*_CELL, *_OF_CELL])
    files = sorted(cells["image_file"].dropna().unique())
    with explained(directory.url, "read"), ThreadPoolExecutor(_NUM_READERS) as pool:
        parts = list(pool.map(lambda name: _identities(directory, name), files))
    steps = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["step", *_CELL])
    steps = steps[steps.groupby(_CELL)["step"].transform("size") > 1]
    if steps.empty:
        raise ValueError(f"{run} has no frames, only finished images; they are stored by {_COMMAND}")
    # A dead attempt's file is named by no row of the results.
    cells = cells.astype({"recipe": "str", "image_file": "str"})
    rows = steps.merge(cells, on=[*_CELL, "image_file"], validate="many_to_one")
    return rows.sort_values([*_CELL, "step"], ignore_index=True)


def frame_values(run: str | Path, rows: pd.DataFrame) -> tuple[list[Pixels], NDArray[np.float32]]:
    """The images `[H, W, C]` and the logits `[S, N]` of rows of `frame_rows`, in their order."""
    directory = open_run(str(run))
    with explained(directory.url, "read"):
        parts = [_read_frames(directory, name, set(part["key"])) for name, part in rows.groupby("image_file")]
    found = pa.concat_tables(parts).to_pandas().set_index("key").loc[rows["key"]]
    images = [
        load.decode_png(key, image["bytes"]) for key, image in zip(rows["key"], found["image"], strict=True)
    ]
    return images, np.stack(found["logits"].to_list())


def _identities(directory: RunDirectory, name: str) -> pd.DataFrame:
    parquet = load.open_images(directory, name)
    rows: pd.DataFrame = parquet.read(columns=["key", *_CELL, "step"]).to_pandas()
    return rows.assign(image_file=name)


def _read_frames(directory: RunDirectory, name: str, keys: set[str]) -> pa.Table:
    """The rows of these keys; only row groups that hold one are read."""
    parquet, parts = load.open_images(directory, name), []
    wanted = pa.array(sorted(keys))
    for group in range(parquet.num_row_groups):
        known = parquet.read_row_group(group, columns=["key"])["key"]
        if keys.isdisjoint(known.to_pylist()):
            continue
        table = parquet.read_row_group(group, columns=["key", "image.bytes", "logits"])
        parts.append(table.filter(pa.compute.is_in(table["key"], wanted)))
    return pa.concat_tables(parts)
