"""Rows of attribution grids as colours: images beside their attributions by method or by checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attribution.attributions import Images
from analysis.attribution.colors import channel_sum, colored, overlaid
from analysis.html.stored_pictures import Pixels


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One attribution as colours `[H, W, 3]`, and the same laid on the grey image, None without that image."""

    colors: Pixels
    overlay: Pixels | None


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """One image `[H, W, C]`, its label and prediction, and a cell per column, None where there is none.

    `method` is that of all cells where the columns are checkpoints, else empty.
    """

    index: int
    key: str
    label: str
    prediction: str
    confidence: float
    correct: bool
    image: Pixels | None
    cells: Sequence[GridCell | None]
    method: str = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows of an attribution grid below the names of its columns: methods or checkpoints."""

    columns: Sequence[str]
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
    signed = _signed(rows["method"], maps)
    table = []
    for _, group in rows.groupby("image_index"):
        image = images.get(group["image_key"].iloc[0])
        cells = {
            method: _cell(maps[index], image, signed[method])
            for index, method in zip(group.index, group["method"], strict=True)
        }
        table.append(_row(group.iloc[-1], image, [cells.get(method) for method in methods], names))
    return Grid(columns=methods, rows=table)


def checkpoint_grid(
    rows: pd.DataFrame,
    values: NDArray[np.floating],
    images: Images,
    *,
    names: Mapping[int, str],
    checkpoints: Sequence[str],
) -> Grid:
    """Return the grid of rows of several checkpoints: a row per image and method, a column per checkpoint.

    Colours are those of `attribution_grid`; rows stand in the order in which `rows` first name image and method.
    The prediction is that of the first of the checkpoints that has the row.
    """
    rows, maps = rows.reset_index(drop=True), channel_sum(values)
    signed = _signed(rows["method"], maps)
    table = []
    for (_, method), group in rows.groupby(["image_index", "method"], sort=False):
        image = images.get(group["image_key"].iloc[0])
        cells = {
            str(checkpoint): _cell(maps[index], image, signed[method])
            for index, checkpoint in zip(group.index, group["checkpoint"], strict=True)
        }
        place = group["checkpoint"].map(list(checkpoints).index).to_numpy().argmin()
        row = _row(group.iloc[place], image, [cells.get(name) for name in checkpoints], names)
        table.append(replace(row, method=str(method)))
    return Grid(columns=list(checkpoints), rows=table)


def describe_image(row: GridRow) -> str:
    """Return the image of a row, its label and its prediction, and the method if it has one for all cells."""
    method = f"{row.method}: " if row.method else ""
    predicted = f"predicted {row.prediction}, {row.confidence:.1%}"
    return f"{method}image {row.index} ({row.key}), label {row.label}: {predicted}"


def _signed(names: pd.Series, maps: NDArray[np.floating]) -> dict[str, bool]:
    """Return by method whether any of its maps has a negative value."""
    return {str(name): bool((maps[names == name] < 0).any()) for name in names.unique()}


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
