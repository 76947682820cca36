"""Pages of small images: strips in a grid, each under a title, with a verdict on every image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray

from analysis.drawing.labels import FONT_FAMILY, fit_label

# Inches, and points for texts. One Axes covers the whole page and its unit is an inch: places of texts and images
# are computed, so that none covers another. An Axes per image would take seconds a page.
IMAGE_SIZE = 1.5
GAP = 0.06
STRIP_GAP = 0.14
MARGIN = 0.15
NARROWEST = 5.5
TITLE_HEIGHT, LINE_HEIGHT = 0.24, 0.15
DOTS_PER_INCH = 120

RIGHT, WRONG, EMPTY = "#1a7f37", "#cf222e", "#eff1f3"


@dataclass(frozen=True, kw_only=True)
class TextStyle:
    """Size in points, colour and weight of a text."""

    size: float = 7
    color: str = "#1f2328"
    weight: str = "normal"


TITLE, NAME, NOTE = TextStyle(size=10, weight="bold"), TextStyle(), TextStyle(color="#59636e")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An image `[H, W, C]`, None if none is stored, with a verdict: `correct` is None without one.

    `caption` is a line above the image, `note` one beneath it. `mark` is a place in the image, row and column in
    its pixels, around which a ring is drawn.
    """

    image: NDArray[np.uint8] | None = None
    correct: bool | None = None
    caption: str = ""
    note: str = ""
    mark: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A row of cells under one title."""

    title: str
    cells: Sequence[Cell]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Strips of equally many cells, `num_across` side by side.

    `headers` name the columns of a strip, `notes` are lines of small print under the title.
    """

    title: str
    strips: Sequence[Strip]
    num_across: int = 1
    headers: Sequence[str] = ()
    notes: Sequence[str] = ()


def draw_page(page: Page) -> Figure:
    """Draw a page; the figure is as large as its content."""
    if page.num_across < 1:
        raise ValueError(f"num_across is {page.num_across}: give 1 or more")
    strip_width = len(page.strips[0].cells) * (IMAGE_SIZE + GAP) - GAP
    heading = 2 * LINE_HEIGHT + GAP if _any(page.strips, "caption") else LINE_HEIGHT
    strip_height = heading + IMAGE_SIZE + GAP + (LINE_HEIGHT + GAP if _any(page.strips, "note") else 0)
    num_down = -(-len(page.strips) // page.num_across)
    grid_width = page.num_across * (strip_width + STRIP_GAP) - STRIP_GAP
    width = max(NARROWEST, grid_width + 2 * MARGIN)
    top = MARGIN + TITLE_HEIGHT + len(page.notes) * LINE_HEIGHT + GAP
    top_of_strips = top + (LINE_HEIGHT if page.headers else 0)
    figure, axes = _blank_page(width, top_of_strips + num_down * strip_height + MARGIN - GAP)
    _draw_title(axes, page, width)
    left_edges = [MARGIN + across * (strip_width + STRIP_GAP) for across in range(page.num_across)]
    for left in left_edges:
        _draw_headers(axes, page.headers, left, top)
    for index, strip in enumerate(page.strips):
        down, across = divmod(index, page.num_across)
        _draw_strip(axes, strip, left_edges[across], top_of_strips + down * strip_height, heading)
    return figure


def _any(strips: Sequence[Strip], text: str) -> bool:
    return any(getattr(cell, text) for strip in strips for cell in strip.cells)


def _blank_page(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.set_autoscale_on(False)
    return figure, axes


def _draw_title(axes: Axes, page: Page, width: float) -> None:
    room = width - 2 * MARGIN
    _draw_text(axes, page.title, (MARGIN, MARGIN), room, TITLE)
    for line, note in enumerate(page.notes):
        y = MARGIN + TITLE_HEIGHT + line * LINE_HEIGHT
        _draw_text(axes, note, (MARGIN, y), room, NOTE)


def _draw_headers(axes: Axes, headers: Sequence[str], left: float, top: float) -> None:
    for column, header in enumerate(headers):
        x = left + column * (IMAGE_SIZE + GAP)
        _draw_text(axes, header, (x, top), IMAGE_SIZE, NOTE)


def _draw_strip(axes: Axes, strip: Strip, left: float, top: float, heading: float) -> None:
    room = len(strip.cells) * (IMAGE_SIZE + GAP) - GAP
    # With captions a strip is denser: its title keeps some distance from the images above it.
    _draw_text(axes, strip.title, (left, top + (GAP if heading > LINE_HEIGHT else 0)), room, NAME)
    for column, cell in enumerate(strip.cells):
        x = left + column * (IMAGE_SIZE + GAP)
        if cell.caption:
            _draw_text(axes, cell.caption, (x, top + heading - LINE_HEIGHT), IMAGE_SIZE, NOTE)
        _draw_cell(axes, cell, x, top + heading)
        if cell.note:
            _draw_text(axes, cell.note, (x, top + heading + IMAGE_SIZE + GAP / 2), IMAGE_SIZE, NOTE)


def _draw_cell(axes: Axes, cell: Cell, left: float, top: float) -> None:
    if cell.image is None:
        axes.add_patch(Rectangle((left, top), IMAGE_SIZE, IMAGE_SIZE, facecolor=EMPTY, linewidth=0))
        _draw_text(axes, "no image", (left + GAP, top + GAP), IMAGE_SIZE, NOTE)
        return
    pixels = cell.image.repeat(3, axis=-1) if cell.image.shape[-1] == 1 else cell.image
    height, width = IMAGE_SIZE * np.array(pixels.shape[:2]) / max(pixels.shape[:2])
    # `extent` runs left, right, bottom, top, and y points down on the page.
    axes.imshow(pixels, extent=(left, left + width, top + height, top), aspect="auto")
    if cell.mark is not None:
        place = np.add(cell.mark, 0.5) / pixels.shape[:2] * (height, width) + (top, left)
        _draw_mark(axes, place, Rectangle((left, top), width, height, transform=axes.transData))
    if cell.correct is not None:
        _draw_verdict(axes, cell.correct, left, top, width, height)


def _draw_mark(axes: Axes, place: NDArray[np.float64], image: Rectangle) -> None:
    """Draw a ring in an image around a place, `[down, across]` on the page: white on black, seen on any image."""
    down, across = place
    for color, width in (("black", 2.2), ("white", 1.0)):
        ring = Circle((across, down), IMAGE_SIZE / 14, fill=False, edgecolor=color, linewidth=width)
        axes.add_patch(ring).set_clip_path(image)


def _draw_verdict(axes: Axes, correct: bool, left: float, top: float, width: float, height: float) -> None:
    color = RIGHT if correct else WRONG
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=color, linewidth=1.2))
    # A reader who cannot distinguish the colours needs the mark.
    badge = {"facecolor": color, "linewidth": 0, "pad": 1.2}
    corner = (left + width - 0.03, top + height - 0.03)
    mark = "\N{CHECK MARK}" if correct else "\N{BALLOT X}"
    axes.text(
        *corner, mark, color="white", size=NAME.size, ha="right", va="bottom", family=FONT_FAMILY, bbox=badge
    )


def _draw_text(axes: Axes, text: str, corner: tuple[float, float], width: float, style: TextStyle) -> None:
    """Write a line of at most `width` inches with its upper left corner at `corner`."""
    x, y = corner
    line = fit_label(
        text, width=width * DOTS_PER_INCH, dpi=DOTS_PER_INCH, font_size=style.size, weight=style.weight
    )
    # On the baseline: hung by their tops, names with tall letters would stand lower than their neighbours.
    # Names come from data: a `$` in them is a dollar sign, whatever the user's matplotlibrc says.
    axes.text(
        x, y + style.size / 72, line, va="baseline", family=FONT_FAMILY, size=style.size, weight=style.weight,
        color=style.color, parse_math=False, usetex=False,
    )  # fmt: skip
