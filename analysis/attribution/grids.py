"""Attribution grids: each image beside its attributions, a column per method.

python -m analysis.attribution.grids RUN --output DIR [--methods NAME,NAME] [--images 0,5] [--num-images N]
                                         [--overlay] [--step N] [--trials NAME,NAME]

`attribution_grid` computes the colours once; `grid_figure` (PNG) and `grid_html` (report) show the same ones.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.attribution.attributions import (
    STATIC,
    TRAINING,
    Images,
    attribution_values,
    load_images,
)
from analysis.attribution.choice import add_choice, choose, method_order, parsed_choice
from analysis.attribution.colors import NOTE, SIGNED_NOTE, channel_sum, colored, overlaid
from analysis.attribution.pictures import Pixels, store_picture
from analysis.command_line import exit_status, figure_parser, save_pages
from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.drawing.labels import file_stem
from analysis.html.site import Site
from analysis.naming import class_names, recorded_class_names
from analysis.run import AnyRun, open_sweep

NUM_DOWN = 8

MARKS = "\N{CHECK MARK} the prediction is the label, \N{BALLOT X} it is another"


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One attribution as colours `[H, W, 3]`, and the same laid on the grey image, None without that image."""

    colors: Pixels
    overlay: Pixels | None


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """One image `[H, W, C]`, its label and prediction, and a cell per method, None where there is none."""

    index: int
    key: str
    label: str
    prediction: str
    confidence: float
    correct: bool
    image: Pixels | None
    cells: Sequence[GridCell | None]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows of an attribution grid below the names of its methods."""

    methods: Sequence[str]
    rows: Sequence[GridRow]

    @property
    def has_overlays(self) -> bool:
        """True if any attribution can be shown on its image."""
        return any(cell and cell.overlay is not None for row in self.rows for cell in row.cells)


def attribution_grid(
    rows: pd.DataFrame,
    values: NDArray[np.floating],
    images: Images,
    *,
    names: Mapping[int, str],
    methods: Sequence[str] | None = None,
) -> Grid:
    """Return the grid of rows and their attributions `[N, C, H, W]`: a row per image, a column per method.

    The channels of an attribution are summed. Each cell has a scale of its own: the full colour stands for the
    99.5 % quantile of its |values|. A method without negative values in these rows runs from white to red, all
    others from blue through white to red. `images` maps `image_key` to `[H, W, C]`, `names` class indices to
    names. `methods` is the order of the columns, sorted unless given.
    """
    rows, maps = rows.reset_index(drop=True), channel_sum(values)
    methods = sorted(rows["method"].unique()) if methods is None else list(methods)
    signed = {method: bool((maps[rows["method"] == method] < 0).any()) for method in methods}
    table = []
    for _, group in rows.groupby("image_index"):
        image = images.get(group["image_key"].iloc[0])
        cells = {
            method: _cell(maps[index], image, signed[method])
            for index, method in zip(group.index, group["method"], strict=True)
        }
        table.append(_row(group.iloc[-1], image, [cells.get(method) for method in methods], names))
    return Grid(methods=methods, rows=table)


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
            headers=["image", *grid.methods],
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


def describe_image(row: GridRow) -> str:
    """Return the image of a row, its label and its prediction."""
    return (
        f"image {row.index} ({row.key}), label {row.label}: predicted {row.prediction}, {row.confidence:.1%}"
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


def _cell(map_: NDArray[np.floating], image: Pixels | None, signed: bool) -> GridCell:
    # An image that was stored at another size than the network's input fits no map of it.
    fits = image is not None and image.shape[:2] == map_.shape
    return GridCell(colors=colored(map_, signed=signed), overlay=overlaid(map_, image) if fits else None)


def _row(
    row: pd.Series, image: Pixels | None, cells: Sequence[GridCell | None], names: Mapping[int, str]
) -> GridRow:
    label, prediction = int(row["label"]), int(row["prediction"])
    return GridRow(
        index=int(row["image_index"]),
        key=str(row["key"]),
        label=names.get(label, str(label)),
        prediction=names.get(prediction, str(prediction)),
        confidence=float(row["confidence"]),
        correct=label == prediction,
        image=image,
        cells=cells,
    )


def _pictures(site: Site, stem: str, cell: GridCell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    overlay = None if cell.overlay is None else store_picture(site, f"{stem}-overlay", cell.overlay)
    return {"map": store_picture(site, stem, cell.colors, exact=True), "overlay": overlay}


def _subjects(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield title, file stem and rows of each trial, or of all rows of a run without trials."""
    if "trial" not in rows:
        model, dataset, split = (rows[column].iloc[0] for column in ("model", "dataset", "split"))
        yield f"{model} on {dataset} {split}: attributions", "", rows
        return
    for trial, group in rows.groupby("trial", observed=True):
        step = int(group["step"].iloc[0])
        yield f"{trial}: step {step:,}", f"-{file_stem(str(trial))}-{step:06d}", group


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pages that the command line asks for, and print their paths."""
    parser = figure_parser("python -m analysis.attribution.grids", "Images beside their attributions.")
    add_choice(parser)
    parser.add_argument("--overlay", action="store_true", help="attributions on the grey image")
    options = parser.parse_args(arguments)
    run = open_sweep(options.run, STATIC, TRAINING)
    rows = choose(run, parsed_choice(options))
    for path in save_pages(pages(run, rows, overlay=options.overlay), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
