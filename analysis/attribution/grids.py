"""Attribution grids: each image beside its attributions, a column per method.

python -m analysis.attribution.grids RUN --output DIR [--methods NAME,NAME] [--images 0,5] [--num-images N]
                                         [--overlay] [--step N] [--trials NAME,NAME]
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis import load
from analysis.attacks.rows import class_names, recorded_class_names
from analysis.attribution.attributions import (
    INTEGRATED,
    STATIC,
    TRAINING,
    VARIANCE,
    attribution_rows,
    attribution_values,
    method_names,
    require_sweep,
)
from analysis.attribution.colors import NOTE, SIGNED_NOTE, channel_sum, colored, overlaid
from analysis.command_line import exit_status, figure_parser, save_pages
from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.drawing.labels import file_stem
from analysis.drawing.pages import chunks

Images = Mapping[str, NDArray[np.uint8]]

NUM_IMAGES, NUM_DOWN = 16, 8

MARKS = "\N{CHECK MARK} the prediction is the label, \N{BALLOT X} it is another"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is shown: methods, images and trials, None for all; the step of a run along training, None for the
    last; at most `num_images` images of those that are not named."""

    methods: Sequence[str] | None = None
    images: Sequence[int] | None = None
    trials: Sequence[str] | None = None
    step: int | None = None
    num_images: int = NUM_IMAGES


def choose(run: str | Path, choice: Choice) -> pd.DataFrame:
    """The rows to show; along training those of one step. Raises ValueError for what the run has not."""
    if choice.num_images < 1:
        raise ValueError(f"num_images is {choice.num_images}: give 1 or more")
    steps = None if choice.step is None else [choice.step]
    rows = attribution_rows(
        run, methods=choice.methods, images=choice.images, trials=choice.trials, steps=steps
    )
    if "trial" in rows and choice.step is None:
        rows = _at_last_step(rows)
    if choice.images is None:
        # A sweep may store the images of some rows alone: those are what one wants to see.
        shown = rows[rows["image_key"].notna()] if rows["image_key"].notna().any() else rows
        first = np.sort(shown["image_index"].unique())[: choice.num_images]
        rows = rows[rows["image_index"].isin(first)]
    return rows.assign(method=method_names(rows))


def attribution_grid(
    rows: pd.DataFrame,
    values: NDArray[np.float32],
    images: Images,
    *,
    names: Mapping[int, str],
    title: str,
    overlay: bool = False,
) -> Figure:
    """Figure of rows and their attributions `[N, C, H, W]`: a strip per image, a column per method.

    The channels of an attribution are summed, and each cell has a scale of its own: the full colour stands for
    the 99.5 % quantile of its |values|. A method without negative values on the page runs from white to red,
    others from blue through white to red. `overlay`: the colours on the grey image, as strong as the attribution.
    `images` maps `image_key` to `[H, W, C]` uint8, `names` class indices to names.
    """
    rows, maps = rows.reset_index(drop=True), channel_sum(values)
    methods = sorted(rows["method"].unique())
    signed = {method: bool((maps[rows["method"] == method] < 0).any()) for method in methods}
    strips = []
    for _, group in rows.groupby("image_index"):
        cells = {}
        for index, row in group.iterrows():
            image = images.get(row["image_key"]) if overlay else None
            if overlay:
                cells[row["method"]] = Cell(image=None if image is None else overlaid(maps[index], image))
            else:
                cells[row["method"]] = Cell(image=colored(maps[index], signed=signed[row["method"]]))
        strips.append(_strip(group.iloc[0], images, [cells.get(method, Cell()) for method in methods], names))
    look = ["attributions on the grey image" if overlay else "attributions", SIGNED_NOTE, NOTE]
    notes = [MARKS, "; ".join(look)]
    return draw_page(Page(title=title, strips=strips, headers=["image", *methods], notes=notes))


def describe_image(row: pd.Series, names: Mapping[int, str]) -> str:
    """The image of a row, its label, and what it is taken for."""
    label, prediction = (names.get(int(row[column]), str(row[column])) for column in ("label", "prediction"))
    return (
        f"image {row['image_index']} ({row['key']}), label {label}: "
        f"predicted {prediction}, {row['confidence']:.1%}"
    )


def pages(run: str | Path, rows: pd.DataFrame, *, overlay: bool = False) -> Iterator[tuple[str, Figure]]:
    """File stem and figure of each page of rows that `choose` gave; only a page's images are in memory."""
    recorded = recorded_class_names(run)
    for subject, stem, group in _subjects(rows):
        # A class that is predicted may be the label of no image; trials may be of different data sets.
        names = class_names(group) | recorded
        for number, indices in enumerate(chunks(sorted(group["image_index"].unique()), NUM_DOWN), start=1):
            page = group[group["image_index"].isin(indices)]
            images, values = load_images(run, page), attribution_values(run, page)
            figure = attribution_grid(page, values, images, names=names, title=subject, overlay=overlay)
            yield f"attribution-{'overlays' if overlay else 'grid'}{stem}-{number:03d}", figure


def load_images(run: str | Path, rows: pd.DataFrame) -> Images:
    """The images that the rows name, by `image_key`; those that were not stored are left out."""
    stored = rows[rows["image_key"].notna()].drop_duplicates("image_key")
    keys = [str(key) for key in stored["image_key"]]
    return dict(zip(keys, load.images(run, keys, rows=stored), strict=True))


def _at_last_step(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each trial's last step that has an attribution of its own, if any has: the sums over training
    have rows where a segment ends, whether attributions were asked for there or not."""
    own = ~rows["method"].isin([INTEGRATED, VARIANCE])
    steps = (rows[own] if own.any() else rows).groupby("trial", observed=True)["step"].max()
    return rows[rows["step"] == rows["trial"].astype("str").map(steps)]


def _subjects(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Title, file stem and rows of each trial, or of all rows where there is none."""
    if "trial" not in rows:
        model, dataset, split = (rows[column].iloc[0] for column in ("model", "dataset", "split"))
        yield f"{model} on {dataset} {split}: attributions", "", rows
        return
    for trial, group in rows.groupby("trial", observed=True):
        step = int(group["step"].iloc[0])
        yield f"{trial}: step {step:,}", f"-{file_stem(str(trial))}-{step:06d}", group


def _strip(row: pd.Series, images: Images, cells: Sequence[Cell], names: Mapping[int, str]) -> Strip:
    correct = bool(row["label"] == row["prediction"])
    image = Cell(image=images.get(row["image_key"]), correct=correct)
    return Strip(title=describe_image(row, names), cells=[image, *cells])


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The options of a command that shows some of a run's attributions."""
    parser.add_argument("--methods", metavar="NAMES", help="these alone, such as gradient,occlusion")
    parser.add_argument("--images", metavar="LIST", help="these image indices, such as 0,5,17")
    parser.add_argument("--num-images", metavar="N", type=int, default=NUM_IMAGES, help="%(default)s")
    parser.add_argument(
        "--step", metavar="N", type=int, help="of a run along training; its last unless given"
    )
    parser.add_argument("--trials", metavar="NAMES", help="of a run along training, these alone")


def parsed_choice(options: argparse.Namespace) -> Choice:
    """Raises ValueError for an image that is no index."""
    listed: dict[str, Any] = {
        name: getattr(options, name).split(",") if getattr(options, name) else None
        for name in ("methods", "images", "trials")
    }
    for text in listed["images"] or []:
        if not text.strip().isdecimal():
            raise ValueError(f"images: {text!r} is no index: give numbers such as 0,5,17")
    listed["images"] = None if listed["images"] is None else [int(text) for text in listed["images"]]
    return Choice(**listed, step=options.step, num_images=options.num_images)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.attribution.grids", "Images beside their attributions.")
    add_choice(parser)
    parser.add_argument("--overlay", action="store_true", help="attributions on the grey image")
    options = parser.parse_args(arguments)
    require_sweep(options.run, STATIC, TRAINING)
    rows = choose(options.run, parsed_choice(options))
    for path in save_pages(pages(options.run, rows, overlay=options.overlay), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
