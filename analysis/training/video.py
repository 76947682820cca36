"""Frames of attribution along training, drawn from a run directory: one per state of the network.

Each frame shows the panel's images, each beside its attribution, framed green where the prediction is right and
red where it is wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attribution.attributions import TRAINING, attribution_portions, attribution_rows, load_images
from analysis.attribution.colors import NOTE, SIGNED_NOTE, channel_sum, colored, full_values, overlaid
from analysis.drawing.pixels import Pixels
from analysis.naming import class_names, recorded_class_names
from analysis.run import AnyRun, Run, open_sweep
from analysis.training.curves import training_curve
from analysis.training.states import states
from analysis.training.video_layout import Answer, Subject, VideoLayout

Scale = Literal["frame", "training"]
# Methods whose colours run from white to red.
NEVER_NEGATIVE = ("abs_gradient_x_input", "gradient_variance")

SCALES: tuple[Scale, ...] = ("frame", "training")


@dataclass(frozen=True, kw_only=True)
class VideoChoice:
    """The trial to show (None for the only one), every N-th state, and how attributions are coloured."""

    method: str = "gradient_x_input"
    trial: str | None = None
    every: int = 1
    overlay: bool = False
    scale: Scale = "frame"

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}: give 1 or more")
        if self.scale not in SCALES:
            raise ValueError(f"scale is {self.scale!r}: choose from {', '.join(SCALES)}")


def chosen_rows(run: AnyRun, choice: VideoChoice) -> pd.DataFrame:
    """Return the rows of the trial and method in the order of their steps. Raises ValueError if there are none."""
    run = open_sweep(run, TRAINING)
    rows = attribution_rows(run, methods=[choice.method], trials=[choice.trial] if choice.trial else None)
    trials = sorted(rows["trial"].astype("str").unique())
    if len(trials) > 1:
        raise ValueError(f"trial is missing: the run has several, choose from {', '.join(trials)}")
    return rows.sort_values(["step", "image_index"]).reset_index(drop=True)


def video_frames(run: AnyRun, choice: VideoChoice) -> Iterator[Pixels]:
    """Yield the frames `[H, W, 3]`, one per state in the order of the training; few states are in memory."""
    run = open_sweep(run, TRAINING)
    rows = chosen_rows(run, choice)
    losses = training_curve(rows)[["step", "training_loss"]].to_numpy(np.float64)
    rows = rows[(rows["step"] % choice.every == 0) | (rows["step"] == rows["step"].max())]
    panel = rows.drop_duplicates("image_index").sort_values("image_index").reset_index(drop=True)
    images = _panel_images(run, panel)
    names = class_names(rows) | recorded_class_names(run)
    layout = VideoLayout(_subject(panel, images, losses, names, choice))
    full = _largest(run, rows) if choice.scale == "training" else None
    for state, values in states(run, rows):
        # If the panel grew, later images are missing from states that the sweep has not come to yet.
        places = pd.Index(panel["image_index"]).get_indexer(state["image_index"])
        scale = None if full is None else full[places]
        colors = _colors(channel_sum(values), [images[place] for place in places], scale, choice)
        yield _frame(layout, state, places, colors, names)


def _colors(
    maps: NDArray[np.floating],
    images: Sequence[Pixels],
    full: NDArray[np.float64] | None,
    choice: VideoChoice,
) -> Pixels:
    if choice.overlay:
        return overlaid(maps, np.stack(images), full=full)
    return colored(maps, signed=choice.method not in NEVER_NEGATIVE, full=full)


def _subject(
    panel: pd.DataFrame,
    images: Sequence[Pixels],
    losses: NDArray[np.float64],
    names: dict[int, str],
    choice: VideoChoice,
) -> Subject:
    first = panel.iloc[0]
    scale = "of each frame" if choice.scale == "frame" else "of each image over the training"
    return Subject(
        title=f"{first['model']} on {first['dataset']}, {first['trial']}: {choice.method}",
        note=f"{SIGNED_NOTE}; {NOTE}, {scale}",
        images=images,
        labels=[names.get(label, str(label)) for label in panel["label"]],
        losses=losses,
    )


def _frame(
    layout: VideoLayout, state: pd.DataFrame, places: Sequence[int], colors: Pixels, names: dict[int, str]
) -> Pixels:
    columns = state[["prediction", "confidence", "label"]].itertuples(index=False, name=None)
    answers = {
        place: Answer(
            attribution=color,
            prediction=names.get(prediction, str(prediction)),
            confidence=confidence,
            correct=prediction == label,
        )
        for place, color, (prediction, confidence, label) in zip(places, colors, columns, strict=True)
    }
    first, num_right = state.iloc[0], sum(answer.correct for answer in answers.values())
    text = f"step {first['step']:,}, epoch {first['epoch']}"
    text += "" if pd.isna(first["training_loss"]) else f", loss {first['training_loss']:.3f}"
    return layout.frame(answers, f"{text}, {num_right} of {len(answers)} right", int(first["step"]))


def _panel_images(run: Run, panel: pd.DataFrame) -> list[Pixels]:
    images = load_images(run, panel)
    for row in panel.itertuples():
        if row.image_key not in images:
            raise ValueError(f"image {row.image_index} of the panel was not stored: image_key is null")
    return [images[key] for key in panel["image_key"]]


def _largest(run: Run, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return the largest full value of each panel image over the training, by image."""
    parts = [
        pd.Series(full_values(channel_sum(values)), index=portion["image_index"])
        for portion, values in attribution_portions(run, rows)
    ]
    largest: NDArray[np.float64] = pd.concat(parts).groupby(level=0).max().to_numpy()
    return largest
