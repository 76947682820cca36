"""Attribution grids: each image beside its attributions, a column per method or per checkpoint.

python -m analysis.attribution.grids RUN --output DIR [--methods NAME,NAME] [--images 0,5] [--num-images N]
    [--by method|checkpoint] [--checkpoints NAME,NAME] [--overlay] [--step N] [--trials NAME,NAME]

By checkpoint, a strip is an image under one method: the trained network's map beside those of networks whose last
layers were re-drawn, as in figure 2 of Adebayo et al. 2018 (arXiv:1810.03292).

`attribution_grid` computes the colours once; `grid_figure` (PNG) and `grid_html` (report) show the same ones.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.attribution.attributions import (
    STATIC,
    TRAINING,
    attribution_values,
    load_images,
)
from analysis.attribution.checkpoints import TRAINED, checkpoint_order
from analysis.attribution.choice import add_choice, choose, method_order, parsed_choice
from analysis.attribution.colors import NOTE, SIGNED_NOTE
from analysis.attribution.grid_rows import (
    Grid,
    GridCell,
    attribution_grid,
    checkpoint_grid,
    describe_image,
)
from analysis.command_line import exit_status, figure_parser, save_pages
from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.drawing.labels import file_stem
from analysis.html.site import Site
from analysis.html.stored_pictures import store_picture
from analysis.naming import class_names, recorded_class_names
from analysis.run import AnyRun, open_sweep

NUM_DOWN = 8

MARKS = "\N{CHECK MARK} the prediction is the label, \N{BALLOT X} it is another"


def grid_figure(
    grid: Grid,
    *,
    title: str,
    overlay: bool = False,
    num_across: int = 1,
    notes: Sequence[str] = (),
) -> Figure:
    """Return the figure of a grid: a strip per image. `overlay` shows the attributions on the grey images."""
    strips = []
    for row in grid.rows:
        shown = [cell and (cell.overlay if overlay else cell.colors) for cell in row.cells]
        cells = [Cell(image=row.image, correct=row.correct), *(Cell(image=pixels) for pixels in shown)]
        strips.append(Strip(title=describe_image(row), cells=cells))
    look = "attributions on the grey image" if overlay else "attributions"
    return draw_page(
        Page(
            title=title,
            strips=strips,
            num_across=num_across,
            headers=["image", *grid.columns],
            notes=[MARKS, *(notes or [f"{look}; {SIGNED_NOTE}; {NOTE}"])],
        )
    )


def grid_html(grid: Grid, site: Site, folder: str, *, label: str) -> Markup:
    """Write the pictures of a grid to a folder of the report, and return the table that shows them.

    `label` names the table to a screen reader.
    """
    rows = []
    for number, row in enumerate(grid.rows):
        stem = f"{folder}/{number:03d}"
        pictures = [_pictures(site, f"{stem}-{column:02d}", cell) for column, cell in enumerate(row.cells)]
        image = None if row.image is None else store_picture(site, f"{stem}-image", row.image)
        rows.append({"row": row, "image": image, "cells": pictures})
    return site.render(
        "attribution_grid.html",
        grid=grid,
        rows=rows,
        id=folder.replace("/", "-"),
        label=label,
        scale=f"{NOTE} in each map alone",
    )


def pages(run: AnyRun, rows: pd.DataFrame, *, overlay: bool = False) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page of rows of `choose`; only one page's images are in memory."""
    stem = "attribution-overlays" if overlay else "attribution-grid"
    for title, subject, group in _subjects(rows):
        names = class_names(group) | recorded_class_names(run)
        methods = method_order(run, group["method"].unique())
        indices = sorted(group["image_index"].unique())
        for number, start in enumerate(range(0, len(indices), NUM_DOWN), start=1):
            page = group[group["image_index"].isin(indices[start : start + NUM_DOWN])]
            # Of these images the run may lack methods, as it grows.
            shown = [method for method in methods if method in set(page["method"])]
            values, images = attribution_values(run, page), load_images(run, page)
            grid = attribution_grid(page, values, images, names=names, methods=shown)
            yield f"{stem}{subject}-{number:03d}", grid_figure(grid, title=title, overlay=overlay)


def checkpoint_pages(
    run: AnyRun, rows: pd.DataFrame, *, overlay: bool = False
) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page of rows of `choose` by checkpoint."""
    stem = "checkpoint-overlays" if overlay else "checkpoint-grid"
    names = class_names(rows) | recorded_class_names(run)
    checkpoints = checkpoint_order(run, rows["checkpoint"].unique())
    rows = in_strips(run, rows)
    strips = rows.groupby(["image_index", "method"], sort=False).ngroup()
    for number, start in enumerate(range(0, int(strips.max()) + 1, NUM_DOWN), start=1):
        page = rows[strips.between(start, start + NUM_DOWN - 1)]
        values, images = attribution_values(run, page), load_images(run, page)
        grid = checkpoint_grid(page, values, images, names=names, checkpoints=checkpoints)
        title = f"{_subject(rows)}: attributions by checkpoint"
        yield f"{stem}-{number:03d}", grid_figure(grid, title=title, overlay=overlay)


def in_strips(run: AnyRun, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by image and, for each, by method in the order of the sweep."""
    places = {name: place for place, name in enumerate(method_order(run, rows["method"].unique()))}
    place = rows["method"].map(places)
    return rows.iloc[np.lexsort([place, rows["image_index"]])]


def _pictures(site: Site, stem: str, cell: GridCell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    overlay = None if cell.overlay is None else store_picture(site, f"{stem}-overlay", cell.overlay)
    return {"map": store_picture(site, stem, cell.colors, exact=True), "overlay": overlay}


def _subjects(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield title, file stem and rows of each trial, or of all rows of a run without trials."""
    if "trial" not in rows:
        checkpoint = str(rows["checkpoint"].iloc[0])
        of_network = "" if checkpoint == TRAINED else f" of {checkpoint}"
        yield f"{_subject(rows)}: attributions{of_network}", "", rows
        return
    for trial, group in rows.groupby("trial", observed=True):
        step = int(group["step"].iloc[0])
        yield f"{trial}: step {step:,}", f"-{file_stem(str(trial))}-{step:06d}", group


def _subject(rows: pd.DataFrame) -> str:
    model, dataset, split = (rows[column].iloc[0] for column in ("model", "dataset", "split"))
    return f"{model} on {dataset} {split}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pages that the command line asks for, and print their paths."""
    parser = figure_parser("python -m analysis.attribution.grids", "Images beside their attributions.")
    add_choice(parser)
    parser.add_argument("--overlay", action="store_true", help="attributions on the grey image")
    options = parser.parse_args(arguments)
    by_checkpoint = options.by == "checkpoint"
    run = open_sweep(options.run, STATIC, *(() if by_checkpoint else (TRAINING,)))
    rows = choose(run, parsed_choice(options))
    drawn = (checkpoint_pages if by_checkpoint else pages)(run, rows, overlay=options.overlay)
    for path in save_pages(drawn, options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
