"""The matrix of sources by victims at an ε, as a figure and as a table of the report."""

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.drawing.charts import blank_chart, draw_heatmap, name_ticks, style_axes
from analysis.drawing.labels import file_stem
from analysis.drawing.pages import chunks
from analysis.html.choices import evenly
from analysis.html.heatmaps import Heading, Heatmap, heatmap
from analysis.naming import format_epsilon

# Inches: a cell of three lines, names beside the panels, what lies between panels, pages.
CELL_WIDTH, CELL_HEIGHT, NAMES, GAP = 0.56, 0.46, 1.9, 0.5
NAME_WIDTH = 1.5
NARROWEST, WIDEST, HIGHEST = 6.5, 13.5, 13.5
# Values of ε that are drawn; the table holds all.
MOST_EPSILONS = 6

# Letters of a name that fit beside a panel.
_LONGEST = 26
_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class TransferGrid:
    """Rates of sources (rows) by victims (columns) at one ε, and the table's row of each cell."""

    rates: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    counts: pd.DataFrame

    def lines(self, row: int, column: int) -> list[str]:
        """Return the lines of a cell: percent, interval and number of images; none where nothing was shown."""
        count = self.counts.iat[row, column]
        if np.isnan(count):
            return []
        if count == 0:
            return [_DASH, "n 0"]
        low, high = (round(100 * each.iat[row, column]) for each in (self.low, self.high))
        return [f"{100 * self.rates.iat[row, column]:.0f}", f"{low}{_DASH}{high}", f"n {count:,.0f}"]


def transfer_grid(
    table: pd.DataFrame, row: str, rows: Sequence[Hashable], victims: Sequence[str]
) -> TransferGrid:
    """Return the grid of rows of `transfer_table` of one attack: these values of the column `row`, by victims."""

    def matrix(column: str) -> pd.DataFrame:
        return (
            table.pivot(index=row, columns="victim", values=column)
            .reindex(index=rows, columns=victims)
            .astype(float)
        )

    return TransferGrid(matrix("rate"), matrix("low"), matrix("high"), matrix("count"))


def with_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a name for each matrix row: the source, and its checkpoint if there are several."""
    several = len(table[["source", "checkpoint"]].drop_duplicates()) > table["source"].nunique()
    names = table["source"].astype(str) + (", " + table["checkpoint"].astype(str) if several else "")
    return table.assign(row=names)


def victims_of(table: pd.DataFrame) -> list[str]:
    """Return the victims that occur, in their order."""
    occurring = set(table["victim"])
    return [name for name in table["victim"].cat.categories if name in occurring]


def drawn_epsilons(table: pd.DataFrame, most: int = MOST_EPSILONS) -> list[float]:
    """Return the ε that are drawn: above 0, evenly chosen; NaN stands for each image's minimum."""
    epsilons = sorted({each for each in table["epsilon"] if each > 0})
    if not epsilons:
        return [np.nan if table["epsilon"].isna().any() else 0.0]
    return evenly(epsilons, most)


def at_epsilon(table: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """Return the rows at an ε; NaN stands for each image's minimum."""
    return table[table["epsilon"].isna() if np.isnan(epsilon) else table["epsilon"] == epsilon]


def epsilon_name(epsilon: float) -> str:
    """Return what a panel at this ε is called."""
    return "each image at its minimum ε" if np.isnan(epsilon) else f"ε = {format_epsilon(epsilon)}"


def figures(table: pd.DataFrame, subject: str) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page: for each attack a panel per ε."""
    rows = with_rows(table)
    down = max(1, int((HIGHEST - NAMES) // (CELL_HEIGHT * rows["row"].nunique() + GAP)))
    for attack, of_attack in rows.groupby("attack", observed=True):
        victims = victims_of(of_attack)
        across = max(1, int((WIDEST - NAMES) // (CELL_WIDTH * len(victims) + GAP)))
        pages = list(chunks(drawn_epsilons(of_attack), across * down))
        for number, epsilons in enumerate(pages, start=1):
            ending = f"-{number:03d}" if len(pages) > 1 else ""
            page = figure(of_attack, epsilons, title=f"{subject}: transfer of {attack}", across=across)
            yield f"transfer-{file_stem(str(attack))}{ending}", page


def figure(table: pd.DataFrame, epsilons: Sequence[float], *, title: str, across: int) -> Figure:
    """Draw the matrices of one attack at these ε; a frame marks the victim that is the source."""
    victims, sources = victims_of(table), list(dict.fromkeys(table["row"]))
    across = min(across, len(epsilons))
    down = -(-len(epsilons) // across)
    notes = [
        "percent of the n images that source and victim both have right, with 95 % intervals (Wilson)",
        "targeted: the victim takes the image for the target; framed: the victim is the source",
    ]
    width = across * (CELL_WIDTH * len(victims) + GAP) + NAMES
    height = down * (CELL_HEIGHT * len(sources) + GAP) + NAMES + 1.1
    page = blank_chart(max(NARROWEST, width), height, title=title, notes=notes)
    grid = page.subplots(down, across, squeeze=False).ravel()
    for index, (axes, epsilon) in enumerate(zip(grid, epsilons, strict=False)):
        first, last = index % across == 0, index + across >= len(epsilons)
        _draw(axes, at_epsilon(table, epsilon), sources, victims)
        name_ticks(axes, "y", list(map(short_name, sources)) if first else [], width=NAME_WIDTH)
        name_ticks(axes, "x", list(map(short_name, victims)) if last else [], width=NAME_WIDTH)
        style_axes(axes, title=epsilon_name(epsilon), x="victim" if last else "", y="source" if first else "")
        axes.grid(visible=False)
    for axes in grid[len(epsilons) :]:
        axes.remove()
    return page


def short_name(name: str) -> str:
    """Return a name by its file of weights as `fashion_deep, seed1`, and without its middle if it is still long.

    Names of files differ at their ends.
    """
    name = re.sub(r":weights=([^:]*?)(\.safetensors|\.pth?|\.ckpt)?(?=:|$)", r", \1", name)
    return name if len(name) <= _LONGEST else f"{name[:6]}\N{HORIZONTAL ELLIPSIS}{name[7 - _LONGEST :]}"


def _draw(axes: Axes, table: pd.DataFrame, sources: Sequence[str], victims: Sequence[str]) -> None:
    grid = transfer_grid(table, "row", sources, victims)
    texts = [
        ["\n".join(grid.lines(row, column)) for column in range(len(victims))] for row in range(len(sources))
    ]
    draw_heatmap(axes, grid.rates.to_numpy(), texts)
    for row, victim in table.loc[table["white_box"], ["row", "victim"]].itertuples(index=False):
        corner = (victims.index(victim) - 0.46, sources.index(row) - 0.46)
        axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="#e69f00", linewidth=1.6))


def html(table: pd.DataFrame, row: str, headings: Sequence[str], *, corner: str) -> Heatmap:
    """Return the report's table of one attack: a row for each value of `row`, a column for each victim."""
    victims = victims_of(table)
    grid = transfer_grid(table, row, list(dict.fromkeys(table[row])), victims)
    return heatmap(
        grid.rates,
        lambda at, column: (grid.lines(at, column) or [_DASH])[0],
        notes=lambda at, column: grid.lines(at, column)[1:],
        corner=corner,
        columns=[Heading(text=short_name(name)) for name in victims],
        rows=[Heading(text=name) for name in headings],
        mark_own=row == "row",
    )
