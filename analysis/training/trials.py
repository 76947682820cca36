"""One training in detail in the report: its video, its recapitulation curve, and maps before and after."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from analysis.attribution.attributions import (
    INTEGRATED,
    VARIANCE,
    attribution_shape,
    attribution_values,
    load_images,
)
from analysis.attribution.grids import attribution_grid, grid_html
from analysis.html.site import Site
from analysis.html.videos import Video, write_video
from analysis.naming import class_names, recorded_class_names
from analysis.run import Run
from analysis.training.gradients import SUM, gradient_maps, sums_and_deviations
from analysis.training.recapitulation import recapitulation_html
from analysis.training.video import VideoChoice, video_frames

# A video of a quarter of a minute; a large panel has fewer frames, which are larger.
MOST_FRAMES, LEAST_FRAMES, MOST_CELLS = 180, 30, 3000
FRAMES_PER_SECOND = 12

# Video and curve read every attribution; all sums of a training are in memory together.
MOST_RESULT_BYTES, MOST_SUM_BYTES = 8_000_000_000, 500_000_000

# The method of the video, if the run has it: black pixels, which add nothing, stay white.
_PREFERRED = "gradient_x_input"
NUM_IMAGES = 8

Maps = tuple[pd.DataFrame, NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A training to show: its run, all of its rows, and the folder of the report that its files go to."""

    run: Run
    rows: pd.DataFrame
    site: Site
    folder: str

    @property
    def name(self) -> str:
        return str(self.rows["trial"].iloc[0])


def trial_html(run: Run, site: Site, folder: str, rows: pd.DataFrame) -> Markup:
    """Write the files of a training to a folder of the report, and return its details as HTML.

    `rows` are all rows of the training. Where a part cannot be made, the HTML says why.
    """
    trial, missing = _Trial(run=run, rows=rows, site=site, folder=folder), {}
    method = _video_method(rows)
    steps = np.unique(rows.loc[rows["method"] == method, "step"])
    num_frames = max(LEAST_FRAMES, min(MOST_FRAMES, MOST_CELLS // rows["image_index"].nunique()))
    every = thinned(steps, num_frames)
    video, recapitulation = None, Markup("")
    if run.status.result_bytes > MOST_RESULT_BYTES:
        missing["video"] = missing["recapitulation"] = "the run is too large to be read for a report"
    else:
        try:
            video = _video(trial, VideoChoice(method=method, trial=trial.name, every=every))
        except ValueError as error:
            missing["video"] = str(error)
        try:
            recapitulation = recapitulation_html(run, rows, site, folder)
        except ValueError as error:
            missing["recapitulation"] = str(error)
    return site.render(
        "training_trial.html",
        id=folder.replace("/", "-"),
        trial=trial.name,
        method=method,
        video=video,
        every=every,
        recapitulation=recapitulation,
        num_images=rows["image_index"].nunique(),
        **_maps(trial, missing),
        missing={"video": "", "recapitulation": "", "sums": ""} | missing,
    )


def thinned(steps: NDArray[np.integer], most: int) -> int:
    """Return the N of every N-th step that leaves about `most` of these steps."""
    stride = int(np.gcd.reduce(steps)) if len(steps) < 3 else int(np.median(np.diff(steps)))
    return max(1, stride) * -(-len(steps) // most)


def _video_method(rows: pd.DataFrame) -> str:
    """Return the method of the video: not a sum over training, unless there is nothing else."""
    methods = sorted(map(str, rows["method"].unique()))
    single = [method for method in methods if method not in (INTEGRATED, VARIANCE)]
    return _PREFERRED if _PREFERRED in single else (single or methods)[0]


def _video(trial: _Trial, choice: VideoChoice) -> Video:
    frames = video_frames(trial.run, choice)
    return write_video(trial.site, f"{trial.folder}/video", frames, frames_per_second=FRAMES_PER_SECOND)


def _maps(trial: _Trial, missing: dict[str, str]) -> dict[str, object]:
    """Return what the template needs of the first and the last state's maps and of the sums, if there are any."""
    run, rows = trial.run, trial.rows
    rows = rows[rows["image_index"].isin(np.unique(rows["image_index"])[:NUM_IMAGES])]
    parts = list(_states(run, rows))
    try:
        parts += _sums(run, rows)
    except ValueError as error:
        missing["sums"] = str(error)
    shown = pd.concat([part for part, _ in parts], ignore_index=True)
    methods = list(dict.fromkeys(shown["method"]))
    grid = attribution_grid(
        shown,
        np.concatenate([values for _, values in parts]),
        load_images(run, shown),
        names=class_names(rows) | recorded_class_names(run),
        methods=methods,
    )
    label = f"Attribution maps before and after the training {trial.name}"
    maps = grid_html(grid, trial.site, f"{trial.folder}/maps", label=label)
    return {"grid": grid, "maps": maps, "has_sums": SUM in methods}


def _states(run: Run, rows: pd.DataFrame) -> Iterator[Maps]:
    """Yield rows and maps of each method before and after; sums over training are not of a state."""
    single = rows[~rows["method"].isin([INTEGRATED, VARIANCE])]
    for method, group in single.groupby(single["method"].astype("str"), sort=False):
        for step in dict.fromkeys((group["step"].min(), group["step"].max())):
            chosen = group[group["step"] == step]
            state = "untrained" if step == 0 else f"step {step:,}"
            yield chosen.assign(method=f"{method}, {state}"), attribution_values(run, chosen)


def _sums(run: Run, rows: pd.DataFrame) -> list[Maps]:
    """Return rows and maps of the loss gradient summed over training, and of its standard deviation.

    Raises ValueError if a segment is missing and if the sums are too large.
    """
    segments = rows[rows["method"].isin([INTEGRATED, VARIANCE])]
    if segments.empty:
        return []
    if 8 * len(segments) * int(np.prod(attribution_shape(run, segments))) > MOST_SUM_BYTES:
        raise ValueError("the sums of the run's segments are too large to be added up for a report")
    table, sums, deviations = sums_and_deviations(run, trials=[str(rows["trial"].iloc[0])])
    panel = table["image_index"].isin(rows["image_index"].unique()).to_numpy()
    return [gradient_maps(table[panel], sums[panel], None if deviations is None else deviations[panel])]
