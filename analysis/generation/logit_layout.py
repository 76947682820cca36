"""Frames of an image beside a scatter of its logits: matplotlib draws the axes once, each frame adds the dots."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.drawing.image_grid import NAME, NOTE, RIGHT, WRONG
from analysis.drawing.labels import FONT_FAMILY
from analysis.drawing.pixels import Pixels, color_bytes, draw_text, fit_size, render_text, resize

# In pixels: the image's longer side at most, the scatter beside it, what is above, between and below them.
IMAGE, SCATTER = 448, (640, 448)
MARGIN, GAP, TITLE_HEIGHT, TEXT_HEIGHT = 20, 20, 48, 62

_DOTS_PER_INCH = 100
_TITLE_SIZE, _TEXT_SIZE, _LABEL_SIZE = 18, 17, 14  # pixels
_AXES = (56, 12, 12, 44)  # pixels of the scatter left, above, right and below of its axes
_DOTS, _LINES = "#0072b2", "#d9dde1"
_DOT_RADIUS, _TARGET_RADIUS = 2.2, 6.5
_LABEL_WIDTH = 220


@dataclass(frozen=True, kw_only=True)
class LogitSubject:
    """What all frames of one image share: the target class, the names of classes, the ends of the axis.

    `limits` are the least and the largest logit of all frames; `shape` is `[H, W]` of the image.
    """

    title: str
    target: int
    num_classes: int
    class_names: Mapping[int, str]
    limits: tuple[float, float]
    shape: tuple[int, ...]
    num_steps: int


class LogitLayout:
    """The background of all frames of one image, and the place of a logit in it."""

    def __init__(self, subject: LogitSubject) -> None:
        self._subject = subject
        self.image_size = fit_size(subject.shape[:2], IMAGE)
        height = TITLE_HEIGHT + max(IMAGE, SCATTER[1]) + TEXT_HEIGHT
        self.size = (height, 2 * MARGIN + IMAGE + GAP + SCATTER[0])
        # In the middle of its square.
        self.image_place = (
            TITLE_HEIGHT + (IMAGE - self.image_size[0]) // 2,
            MARGIN + (IMAGE - self.image_size[1]) // 2,
        )
        self._base = self._draw_base()

    def frame(self, image: Pixels, logits: NDArray[np.floating], step: int) -> Pixels:
        """Return the frame `[H, W, 3]` of an image `[H, W, C]` and all its logits `[N]` after `step` steps."""
        frame, target = self._base.copy(), self._subject.target
        top, left = self.image_place
        colors = np.broadcast_to(image, (*image.shape[:2], 3))
        frame[top : top + self.image_size[0], left : left + self.image_size[1]] = resize(
            colors, self.image_size
        )
        dots = self.dots(logits)
        _stamp(frame, np.delete(dots, target, axis=0), _DOT_RADIUS, _DOTS)
        color = RIGHT if rank(logits, target) == 1 else WRONG
        _stamp(frame, dots[[target]], _TARGET_RADIUS, color)
        self._name_target(frame, *dots[target], color)
        self._write_below(frame, logits, step, color)
        return frame

    def dots(self, logits: NDArray[np.floating]) -> NDArray[np.intp]:
        """Return row and column `[N, 2]` of each logit's dot."""
        low, high = self._subject.limits
        left, top, right, bottom = self._box()
        columns = np.linspace(left, right, len(logits)) if len(logits) > 1 else np.array([left])
        rows = bottom - (np.asarray(logits, np.float64) - low) / (high - low) * (bottom - top)
        return np.stack([rows, columns], 1).round().astype(np.intp)

    def _box(self) -> tuple[int, int, int, int]:
        """Return the outermost places of dots, left, top, right and bottom: a dot does not touch the axes."""
        left, top = 2 * MARGIN + IMAGE + _AXES[0], TITLE_HEIGHT + _AXES[1]
        right, bottom = MARGIN + IMAGE + GAP + SCATTER[0] - _AXES[2], TITLE_HEIGHT + SCATTER[1] - _AXES[3]
        inner = round(_TARGET_RADIUS) + 2
        return left + inner, top + inner, right - inner, bottom - inner

    def _name_target(self, frame: Pixels, row: int, column: int, color: str) -> None:
        label = render_text(self._name(self._subject.target), _LABEL_SIZE, color, _LABEL_WIDTH)
        left, top, right, _ = self._box()
        width, clear = label[0].shape[1], round(_TARGET_RADIUS) + 4
        # To the right of the dot, or to its left if there is no room.
        place = column + clear if column + clear + width < right else column - clear - width
        corner = max(left, place), max(top, row - label[0].shape[0] // 2)
        # A thousand dots would make the letters unreadable: the area behind them is made pale.
        area = frame[corner[1] : corner[1] + label[0].shape[0], corner[0] : corner[0] + width]
        area[:] = area // 5 + 204
        draw_text(frame, label, *corner)

    def _write_below(self, frame: Pixels, logits: NDArray[np.floating], step: int, color: str) -> None:
        subject, top = self._subject, TITLE_HEIGHT + IMAGE + 10
        draw_text(
            frame,
            render_text(f"step {step} of {subject.num_steps}", _TEXT_SIZE, NAME.color, IMAGE),
            MARGIN,
            top,
        )
        place, chances = rank(logits, subject.target), probabilities(logits)
        text = f"rank {place} of {len(logits):,}, probability {chances[subject.target]:.1%}"
        text += f", logit {logits[subject.target]:.1f}"
        mark = "\N{CHECK MARK}" if place == 1 else "\N{BALLOT X}"
        left = 2 * MARGIN + IMAGE
        draw_text(frame, render_text(f"{mark} {text}", _TEXT_SIZE, color, SCATTER[0]), left, top)
        first = int(np.argmax(logits))
        if first != subject.target:
            words = f"first: {self._name(first)}, {chances[first]:.1%}"
            draw_text(frame, render_text(words, _LABEL_SIZE, NOTE.color, SCATTER[0]), left, top + 25)

    def _name(self, index: int) -> str:
        return self._subject.class_names.get(index, f"class {index}")

    def _draw_base(self) -> Pixels:
        height, width = self.size
        figure = Figure(figsize=(width / _DOTS_PER_INCH, height / _DOTS_PER_INCH), dpi=_DOTS_PER_INCH)
        canvas = FigureCanvasAgg(figure)
        self._draw_axes(figure)
        canvas.draw()
        base = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        title = render_text(self._subject.title, _TITLE_SIZE, NAME.color, width - 2 * MARGIN)
        draw_text(base, title, MARGIN, 13)
        return base

    def _draw_axes(self, figure: Figure) -> None:
        """Draw axes whose data coordinates agree with `dots`."""
        (height, width), subject = self.size, self._subject
        left, top, right, bottom = self._box()
        inner = round(_TARGET_RADIUS) + 2
        # matplotlib counts from below, and to the edges of pixels.
        outer = (left - inner, height - bottom - inner, right - left + 2 * inner, bottom - top + 2 * inner)
        axes = figure.add_axes((outer[0] / width, outer[1] / height, outer[2] / width, outer[3] / height))
        low, high = subject.limits
        across, up = (
            inner * max(1, subject.num_classes - 1) / (right - left),
            inner * (high - low) / (bottom - top),
        )
        axes.set_xlim(-across, max(1, subject.num_classes - 1) + across)
        axes.set_ylim(low - up, high + up)
        axes.axvline(subject.target, color=_LINES, linewidth=1)
        axes.axhline(0, color=_LINES, linewidth=1)
        _style(axes)


def rank(logits: NDArray[np.floating], target: int) -> int:
    """Return the rank of the target's logit: 1 if no other is larger."""
    return int((logits > logits[target]).sum()) + 1


def probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the softmax `[N]` of logits `[N]`."""
    powers = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def _style(axes: Axes) -> None:
    axes.set_xlabel("class", size=NOTE.size + 2, color=NOTE.color, family=FONT_FAMILY)
    axes.set_ylabel("logit", size=NOTE.size + 2, color=NOTE.color, family=FONT_FAMILY)
    axes.tick_params(labelsize=NOTE.size + 1, labelcolor=NOTE.color, color=_LINES)
    axes.spines[:].set_color(_LINES)


def _stamp(frame: Pixels, places: NDArray[np.intp], radius: float, color: str) -> None:
    """Draw discs with soft edges; where two overlap, the colour is not darker."""
    reach = int(np.ceil(radius))
    offsets = np.arange(-reach, reach + 1)
    distance = np.hypot(offsets[:, None], offsets)
    disc = np.clip(radius + 0.5 - distance, 0, 1)
    opacity = np.zeros(frame.shape[:2])
    rows = places[:, 0, None, None] + offsets[:, None]
    columns = places[:, 1, None, None] + offsets
    np.maximum.at(opacity, (rows, columns), np.broadcast_to(disc, rows.shape[:1] + disc.shape))
    touched = opacity > 0
    share = opacity[touched, None]
    frame[touched] = np.rint(frame[touched] * (1 - share) + color_bytes(color) * share)
