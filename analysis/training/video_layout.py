"""Layout of the frames of attribution along training.

A frame is a grid of panel images, each beside its attribution, with the loss of the training below. matplotlib
would take a second per frame. So it draws once what all frames have in common, and each frame lays its own pixels
over that picture, in a few milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.drawing.image_grid import NAME, NOTE, RIGHT, WRONG
from analysis.drawing.labels import FONT_FAMILY
from analysis.drawing.pixels import Pixels, color_bytes, draw_text, fit_size, render_text, resize
from analysis.training.curves import LOSS_COLOR, smoothed, smoothing_window

# In pixels: the longer side of an attribution, that of the image beside it, and the space between them.
TILE, THUMBNAIL = 140, 70
GAP, MARGIN = 10, 16
TITLE_HEIGHT, LINE_HEIGHT, CURVE_HEIGHT = 58, 15, 110
FRAME = 3
MOST_ACROSS = 6

_DOTS_PER_INCH = 100
_TITLE_SIZE, _TEXT_SIZE = 20, 12  # pixels


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Content of a video that is the same in all frames.

    `images` are the panel's `[H, W, C]`, `labels` the names of their labels, `losses` `[S, 2]` steps and training
    losses; `note`, the last line, explains the colours.
    """

    title: str
    note: str
    images: Sequence[Pixels]
    labels: Sequence[str]
    losses: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Prediction of a frame's network for a panel image; the attribution as colours `[H, W, 3]`."""

    attribution: Pixels
    prediction: str
    confidence: float
    correct: bool


class VideoLayout:
    """The picture that all frames have in common, and the places of what changes.

    A cell has the image, small, at its upper left, label and prediction below it, the attribution at the right.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        shape = subject.images[0].shape[:2]
        self.tile, self._thumbnail = fit_size(shape, TILE), fit_size(shape, THUMBNAIL)
        self._across = num_across(len(subject.images))
        self._down = -(-len(subject.images) // self._across)
        self._text_width = max(self._thumbnail[1], 92)
        self._cell = (self.tile[0] + GAP, self._text_width + self.tile[1] + 2 * GAP)
        width = 2 * MARGIN + self._across * self._cell[1] - GAP
        height = TITLE_HEIGHT + self._down * self._cell[0] + CURVE_HEIGHT + MARGIN
        self.size = (height + height % 2, width + width % 2)
        self._base, self._marks = self._draw_base()

    def place(self, index: int) -> tuple[int, int]:
        """Return the upper left corner of the attribution of a panel image: row and column of pixels."""
        top, left = self.corner(index)
        return top, left + self._text_width + GAP // 2

    def frame(self, answers: Mapping[int, Answer], text: str, step: int) -> Pixels:
        """Return the frame `[H, W, 3]` of a step: answers by place in the panel, and the text below the title."""
        frame = self._base.copy()
        for index, answer in answers.items():
            self._draw_cell(frame, index, answer)
        draw_text(frame, render_text(text, _TEXT_SIZE + 2, NAME.color, self.size[1]), MARGIN, 34)
        self._mark(frame, step)
        return frame

    def _draw_cell(self, frame: Pixels, index: int, answer: Answer) -> None:
        color = RIGHT if answer.correct else WRONG
        top, left = self.place(index)
        height, width = self.tile
        frame[top - FRAME : top + height + FRAME, left - FRAME : left + width + FRAME] = color_bytes(color)
        frame[top : top + height, left : left + width] = resize(answer.attribution, self.tile)
        mark = "\N{CHECK MARK}" if answer.correct else "\N{BALLOT X}"
        top, left = self.corner(index)
        top += self._thumbnail[0] + LINE_HEIGHT + 8
        for line, words in enumerate((f"{mark} {answer.prediction}", f"{answer.confidence:.0%}")):
            letters = render_text(words, _TEXT_SIZE, color, self._text_width)
            draw_text(frame, letters, left, top + line * LINE_HEIGHT)

    def corner(self, index: int) -> tuple[int, int]:
        """Return the upper left corner of a panel image, also that of its cell: row and column of pixels."""
        down, across = divmod(index, self._across)
        return TITLE_HEIGHT + down * self._cell[0], MARGIN + across * self._cell[1]

    def _draw_base(self) -> tuple[Pixels, NDArray[np.intp]]:
        """Return the picture, and the pixel (row, column) of each of the losses in it."""
        height, width = self.size
        figure = Figure(figsize=(width / _DOTS_PER_INCH, height / _DOTS_PER_INCH), dpi=_DOTS_PER_INCH)
        canvas = FigureCanvasAgg(figure)
        places = self._draw_losses(figure)
        canvas.draw()
        base = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        title = render_text(self._subject.title, _TITLE_SIZE - 4, NAME.color, width - 2 * MARGIN)
        draw_text(base, title, MARGIN, 10)
        note = render_text(self._subject.note, _TEXT_SIZE - 1, NOTE.color, width - 2 * MARGIN)
        draw_text(base, note, MARGIN, height - 15)
        for index, (image, label) in enumerate(zip(self._subject.images, self._subject.labels, strict=True)):
            top, left = self.corner(index)
            small = resize(np.broadcast_to(image, (*image.shape[:2], 3)), self._thumbnail)
            base[top : top + small.shape[0], left : left + small.shape[1]] = small
            text = render_text(label, _TEXT_SIZE, NAME.color, self._text_width)
            draw_text(base, text, left, top + self._thumbnail[0] + 4)
        marks = np.stack([height - 1 - places[:, 1], places[:, 0]], 1).round().astype(np.intp)
        return base, marks

    def _draw_losses(self, figure: Figure) -> NDArray[np.float64]:
        """Draw the curve, and return where its points lie, in dots from the left and from below."""
        height, width = self.size
        left, bottom = 46, 44
        box = (left / width, bottom / height, 1 - (left + MARGIN) / width, (CURVE_HEIGHT - 36) / height)
        axes = figure.add_axes(box)
        steps, losses = self._subject.losses.T
        known = ~np.isnan(losses)
        smooth = smoothed(pd.Series(losses[known]), smoothing_window(len(losses)))
        axes.plot(steps[known], losses[known], color=LOSS_COLOR, linewidth=0.4, alpha=0.35)
        axes.plot(steps[known], smooth, color=LOSS_COLOR, linewidth=1.2)
        axes.set_xlim(steps.min(), max(steps.max(), steps.min() + 1))
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=NOTE.size, labelcolor=NOTE.color, color="#d9dde1", length=2, pad=2)
        axes.spines[:].set_color("#d9dde1")
        axes.text(0.995, 0.93, "training loss", ha="right", va="top", size=NOTE.size, color=LOSS_COLOR,
                  family=FONT_FAMILY, transform=axes.transAxes)  # fmt: skip
        # The untrained network has no loss of a minibatch: it is marked where the first one is.
        heights = np.interp(steps, steps[known], smooth) if known.any() else np.zeros(len(steps))
        self._curve = (height - bottom - (CURVE_HEIGHT - 36), height - bottom)
        places: NDArray[np.float64] = axes.transData.transform(np.stack([steps, heights], 1))
        return places

    def _mark(self, frame: Pixels, step: int) -> None:
        """Draw a line and a dot at the step in the curve."""
        place = int(np.searchsorted(self._subject.losses[:, 0], step))
        row, column = self._marks[min(place, len(self._marks) - 1)]
        frame[self._curve[0] : self._curve[1], column] = color_bytes(NOTE.color)
        frame[row - 3 : row + 4, column - 3 : column + 4] = color_bytes(WRONG)


def num_across(num_images: int) -> int:
    """Return the cells side by side that leave few places empty in a picture somewhat wider than high."""
    widths = range(max(1, round(num_images**0.5)), max(1, min(num_images, MOST_ACROSS)) + 1)
    return min(
        widths or [MOST_ACROSS], key=lambda width: (-num_images % width, abs(width**2 - 1.5 * num_images))
    )
