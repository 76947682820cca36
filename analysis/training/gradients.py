"""The loss gradient integrated over training, and its variance, of each panel image.

python -m analysis.training.gradients RUN --output DIR [--until STEP] [--trials NAME,NAME]
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.attacks.rows import class_names, recorded_class_names
from analysis.attribution.attributions import (
    INTEGRATED,
    TRAINING,
    VARIANCE,
    attribution_rows,
    gradient_sums,
    require_sweep,
)
from analysis.attribution.colors import NOTE, SIGNED_NOTE, channel_sum, colored
from analysis.attribution.grids import MARKS, Images, describe_image, load_images
from analysis.command_line import exit_status, figure_parser, save_pages
from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.drawing.labels import file_stem
from analysis.drawing.pages import chunks

NUM_STRIPS, NUM_ACROSS = 16, 2

Values = NDArray[np.float64]


def training_integrated_gradient(
    run: str | Path, until: int | None = None, *, trials: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Values]:
    """The sum over all states of the loss gradient: a row and a `[C, H, W]` per trial and panel image.

    The segments are added in the order of their steps, from the untrained network to the state after `until`
    updates, where a segment has to end; to the last one unless given. `step` of a row is where its sum ends,
    `num_states` how many states it is over. Raises ValueError for a run without such sums, a segment that is
    missing or counts a state twice, and an `until` at which no segment ends.
    """
    rows = _segments(run, _summed_method(run), until, trials)
    return _added(rows, gradient_sums(run, rows, "gradient_sum"))


def gradient_variance(
    run: str | Path, until: int | None = None, *, trials: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Values]:
    """The variance over all states of the loss gradient, S₂/N − (S/N)², as `training_integrated_gradient`."""
    rows = _segments(run, VARIANCE, until, trials)
    table, squares = _added(rows, gradient_sums(run, rows, "gradient_sum_of_squares"))
    _, sums = _added(rows, gradient_sums(run, rows, "gradient_sum"))
    count = table["num_states"].to_numpy()[:, None, None, None]
    # Where the gradient never changes, rounding may leave a hair less than 0.
    return table, np.maximum(squares / count - (sums / count) ** 2, 0)


def gradient_page(
    rows: pd.DataFrame,
    sums: Values,
    deviations: Values | None,
    images: Images,
    *,
    names: Mapping[int, str],
    title: str,
) -> Figure:
    """Figure of one trial: each panel image, its integrated gradient and, if given, the standard deviation.

    `sums` and `deviations` `[N, C, H, W]` belong to the rows; the deviations of the channels are summed.
    """
    strips, maps = [], channel_sum(sums)
    spread = None if deviations is None else channel_sum(deviations)
    for index, (_, row) in enumerate(rows.iterrows()):
        cells = [
            Cell(image=images.get(row["image_key"]), correct=bool(row["label"] == row["prediction"])),
            Cell(image=colored(maps[index])),
        ]
        if spread is not None:
            cells.append(Cell(image=colored(spread[index], signed=False)))
        strips.append(Strip(title=describe_image(row, names), cells=cells))
    headers = ["image", "integrated gradient", "standard deviation"][: len(strips[0].cells)]
    notes = [MARKS, f"loss gradient; {SIGNED_NOTE}; {NOTE}"]
    across = min(NUM_ACROSS, len(strips))
    return draw_page(Page(title=title, strips=strips, num_across=across, headers=headers, notes=notes))


def pages(
    run: str | Path, until: int | None = None, trials: Sequence[str] | None = None
) -> Iterator[tuple[str, Figure]]:
    """File stem and figure of each page, trial by trial."""
    known = _methods(run)
    rows, sums = training_integrated_gradient(run, until, trials=trials)
    deviations = None
    if VARIANCE in known:
        table, variances = gradient_variance(run, until, trials=trials)
        # The two may have been asked for of different images.
        deviations = np.sqrt(variances[_places(table, rows)])
    recorded, images = recorded_class_names(run), load_images(run, rows)
    for trial, places in rows.groupby("trial", observed=True).indices.items():
        names = class_names(rows.iloc[places]) | recorded
        for number, part in enumerate(chunks(places, NUM_STRIPS), start=1):
            page, spread = rows.iloc[part], None if deviations is None else deviations[part]
            step, count = int(page["step"].iloc[0]), int(page["num_states"].iloc[0])
            title = f"{page['model'].iloc[0]}, {trial}: gradient over {count:,} states to step {step:,}"
            figure = gradient_page(page, sums[part], spread, images, names=names, title=title)
            yield f"training-gradients-{file_stem(str(trial))}-{step:06d}-{number:03d}", figure


def _methods(run: str | Path) -> list[str]:
    require_sweep(run, TRAINING)
    return sorted(attribution_rows(run)["method"].unique())


def _summed_method(run: str | Path) -> str:
    """The method whose rows hold sums of gradients: both of them do."""
    known = _methods(run)
    return VARIANCE if INTEGRATED not in known and VARIANCE in known else INTEGRATED


def _places(table: pd.DataFrame, rows: pd.DataFrame) -> NDArray[np.intp]:
    by = ["trial", "image_index"]
    places = table.set_index(by).index.get_indexer(pd.MultiIndex.from_frame(rows[by]))
    if (places < 0).any():
        raise ValueError(f"{VARIANCE} is missing for images that have {INTEGRATED}: resume the sweep first")
    return places


def _segments(run: str | Path, method: str, until: int | None, trials: Sequence[str] | None) -> pd.DataFrame:
    """The rows of the segments to add, in order, their states all there once."""
    require_sweep(run, TRAINING)
    rows = attribution_rows(run, methods=[method], trials=trials)
    rows["trial"] = rows["trial"].astype("str")
    rows = rows.sort_values(["trial", "image_index", "step"], kind="stable").reset_index(drop=True)
    kept = [
        _without_gaps(group, str(trial), until)
        for (trial, _), group in rows.groupby(["trial", "image_index"])
    ]
    return pd.concat(kept).reset_index(drop=True)


def _without_gaps(segments: pd.DataFrame, trial: str, until: int | None) -> pd.DataFrame:
    """The segments of an image up to `until`; each counts its `num_states` states up to and with its step."""
    ends = segments["step"].to_numpy()
    if until is not None and until not in ends:
        raise ValueError(
            f"until is {until}: no segment of trial {trial!r} ends there, but at {', '.join(map(str, ends))}"
        )
    chosen = segments if until is None else segments[ends <= until]
    following = 0
    for end, count in zip(chosen["step"], chosen["num_states"], strict=True):
        first = end - count + 1
        if first > following:
            raise ValueError(
                f"trial {trial!r}: the states of steps {following} to {first - 1} are in no committed segment: "
                "resume the sweep first"
            )
        if first < following:
            raise ValueError(f"trial {trial!r}: the states of steps {first} to {following - 1} count twice")
        following = end + 1
    return chosen


def _added(rows: pd.DataFrame, values: Values) -> tuple[pd.DataFrame, Values]:
    """The last row of each trial and image, and the sum of the values of all of its rows, in their order."""
    by = ["trial", "image_index"]
    groups = rows.groupby(by).indices.values()
    added = np.zeros((len(groups), *values.shape[1:]))
    for total, places in zip(added, groups, strict=True):
        # One after another: the same sum however numpy would pair them.
        for place in places:
            total += values[place]
    last = rows.iloc[[places[-1] for places in groups]].reset_index(drop=True)
    last["num_states"] = [int(rows["num_states"].iloc[places].sum()) for places in groups]
    return last, added


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.training.gradients", "The loss gradient over a training.")
    parser.add_argument(
        "--until", metavar="STEP", type=int, help="where a segment ends; the last unless given"
    )
    parser.add_argument("--trials", metavar="NAMES", help="these alone; all unless given")
    options = parser.parse_args(arguments)
    trials = options.trials.split(",") if options.trials else None
    for path in save_pages(pages(options.run, options.until, trials), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
