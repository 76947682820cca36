"""One training in detail: its video, its gradients' likeness to the input, and maps before and after."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attacks.rows import class_names, recorded_class_names
from analysis.attribution.attributions import INTEGRATED, VARIANCE, attribution_shape, attribution_values
from analysis.attribution.colors import channel_sum
from analysis.attribution.grids import load_images
from analysis.attribution.tiles import TileTable, write_tiles
from analysis.html.site import Site
from analysis.html.videos import Video, write_video
from analysis.run import Source
from analysis.training.gradients import gradient_variance, training_integrated_gradient
from analysis.training.likeness import Likeness, write_likeness
from analysis.training.video import VideoChoice, video_frames

# A video of a quarter of a minute; of a large panel fewer frames, which are larger.
MOST_FRAMES, LEAST_FRAMES, MOST_CELLS = 180, 30, 3000
FRAMES_PER_SECOND = 12

# Every attribution is read for the video and the curve, all sums are in memory together.
MOST_RESULT_BYTES, MOST_SUM_BYTES = 8_000_000_000, 500_000_000

# In the video, if it is there: black pixels, which have no part in it, stay white.
_SHOWN = "gradient_x_input"
NUM_IMAGES = 8
SUM, DEVIATION = "sum over training", "standard deviation over training"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the page shows of a training; each part that could not be made is None, and `notes` say why."""

    name: str
    number: int
    followed: str
    video: Video | None
    every: int
    likeness: Likeness | None
    tiles: TileTable
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def has_sums(self) -> bool:
        """Whether the tiles show what was added up over training."""
        return SUM in self.tiles.columns


def write_trial(source: Source, site: Site, number: int, rows: pd.DataFrame) -> Trial:
    """Writes the files of a training; `rows` are all of its rows."""
    name, folder, notes = str(rows["trial"].iloc[0]), f"{source.id}/training-{number}", {}
    followed = _followed(rows)
    steps = np.unique(rows.loc[rows["method"] == followed, "step"])
    num_frames = max(LEAST_FRAMES, min(MOST_FRAMES, MOST_CELLS // rows["image_index"].nunique()))
    every = thinned(steps, num_frames)
    video = likeness = None
    if source.status.result_bytes > MOST_RESULT_BYTES:
        notes["video"] = notes["likeness"] = "the run is too large to be read for a report"
    else:
        try:
            choice = VideoChoice(method=followed, trial=name, every=every)
            frames = video_frames(source.url, choice)
            video = write_video(site, f"{folder}/video", frames, frames_per_second=FRAMES_PER_SECOND)
        except ValueError as error:
            notes["video"] = str(error)
        try:
            likeness = write_likeness(source, site, folder, rows)
        except ValueError as error:
            notes["likeness"] = str(error)
    return Trial(
        name=name,
        number=number,
        followed=followed,
        video=video,
        every=every,
        likeness=likeness,
        tiles=_tiles(source, site, folder, rows, notes),
        notes=notes,
    )


def _followed(rows: pd.DataFrame) -> str:
    """The method of the video: not a sum over training, unless there is nothing else."""
    methods = sorted(map(str, rows["method"].unique()))
    own = [method for method in methods if method not in (INTEGRATED, VARIANCE)]
    return _SHOWN if _SHOWN in own else (own or methods)[0]


def thinned(steps: NDArray[np.integer], most: int) -> int:
    """The N of every N-th step, so that about `most` of these steps are left."""
    stride = int(np.gcd.reduce(steps)) if len(steps) < 3 else int(np.median(np.diff(steps)))
    return max(1, stride) * -(-len(steps) // most)


def _tiles(source: Source, site: Site, folder: str, rows: pd.DataFrame, notes: dict[str, str]) -> TileTable:
    """Maps of the first and the last state and, if there are any, of the sums over training."""
    panel = np.unique(rows["image_index"])[:NUM_IMAGES]
    rows = rows[rows["image_index"].isin(panel)]
    parts = [*_states(source, rows)]
    try:
        parts += _sums(source, rows)
    except ValueError as error:
        notes["sums"] = str(error)
    shown = pd.concat([part for part, _ in parts], ignore_index=True)
    columns = list(dict.fromkeys(shown["column"]))
    maps = np.concatenate([values for _, values in parts])
    names = class_names(rows) | recorded_class_names(source.url)
    return write_tiles(
        site, f"{folder}/maps", shown, maps, load_images(source.url, shown), names, columns=columns
    )


def _states(source: Source, rows: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, NDArray[np.floating]]]:
    """Rows and maps of each method before and after, or of a sum's last segment where there is nothing else."""
    own = rows[~rows["method"].isin([INTEGRATED, VARIANCE])]
    for method, group in own.groupby(own["method"].astype("str"), sort=False):
        for step in dict.fromkeys((group["step"].min(), group["step"].max())):
            chosen = group[group["step"] == step]
            state = "untrained" if step == 0 else f"step {step:,}"
            yield (
                chosen.assign(column=f"{method}, {state}"),
                channel_sum(attribution_values(source.url, chosen)),
            )


def _sums(source: Source, rows: pd.DataFrame) -> Sequence[tuple[pd.DataFrame, NDArray[np.floating]]]:
    """The loss gradient added up over training, and its standard deviation. ValueError where segments lack."""
    known, trial = set(rows["method"].astype("str")), [str(rows["trial"].iloc[0])]
    segments = rows[rows["method"].isin([INTEGRATED, VARIANCE])]
    if segments.empty:
        return []
    size = 8 * len(segments) * int(np.prod(attribution_shape(source.url, segments)))
    if size > MOST_SUM_BYTES:
        raise ValueError("the sums of the run's segments are too large to be added up for a report")
    parts = []
    if INTEGRATED in known or VARIANCE in known:
        table, sums = training_integrated_gradient(source.url, trials=trial)
        parts.append((SUM, table, sums))
    if VARIANCE in known:
        table, variance = gradient_variance(source.url, trials=trial)
        parts.append((DEVIATION, table, np.sqrt(variance)))
    panel = rows["image_index"].unique()
    kept = [
        (name, table, values, table["image_index"].isin(panel).to_numpy()) for name, table, values in parts
    ]
    return [
        (table[chosen].assign(column=name), channel_sum(values[chosen]))
        for name, table, values, chosen in kept
    ]
