"""The loss gradient integrated over training, and its variance, of each panel image.

python -m analysis.training.gradients RUN --output DIR [--until STEP] [--trials NAME,NAME]

The sweep stores sums over segments of a training; these functions add them up. `pages` (PNG) and the report show
the same attribution grid of `gradient_maps`.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.attribution.attributions import (
    INTEGRATED,
    TRAINING,
    VARIANCE,
    attribution_rows,
    gradient_sums,
    load_images,
)
from analysis.attribution.colors import NOTE, SIGNED_NOTE
from analysis.attribution.grids import attribution_grid, grid_figure
from analysis.command_line import exit_status, figure_parser, save_pages
from analysis.drawing.labels import file_stem
from analysis.drawing.pages import chunks
from analysis.naming import class_names, recorded_class_names
from analysis.run import AnyRun, Run, open_sweep, opened

NUM_STRIPS, NUM_ACROSS = 16, 2
# Columns of the grid.
SUM, DEVIATION = "sum over training", "standard deviation over training"

Values = NDArray[np.float64]


def training_integrated_gradient(
    run: AnyRun, until: int | None = None, *, trials: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Values]:
    """Return the sum over all states of the loss gradient: a row and a `[C, H, W]` per trial and panel image.

    The segments are added in the order of their steps, from the untrained network to the state after `until`
    updates, where a segment has to end; to the last one unless given. `step` of a row is where its sum ends,
    `num_states` the number of states in it. Raises ValueError for a run without such sums, a segment that is
    missing or counts a state twice, and an `until` at which no segment ends.
    """
    run = open_sweep(run, TRAINING)
    rows = _segments(run, _summed_method(run), until, trials)
    return _added(rows, gradient_sums(run, rows, "gradient_sum"))


def gradient_variance(
    run: AnyRun, until: int | None = None, *, trials: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Values]:
    """Return the variance over all states of the loss gradient, S₂/N − (S/N)², as `training_integrated_gradient`.

    S is the sum of the N gradients, S₂ that of their squares.
    """
    run = open_sweep(run, TRAINING)
    rows = _segments(run, VARIANCE, until, trials)
    table, squares = _added(rows, gradient_sums(run, rows, "gradient_sum_of_squares"))
    _, sums = _added(rows, gradient_sums(run, rows, "gradient_sum"))
    count = table["num_states"].to_numpy()[:, None, None, None]
    # If the gradient never changes, rounding can make the difference slightly negative.
    return table, np.maximum(squares / count - (sums / count) ** 2, 0)


def gradient_maps(
    rows: pd.DataFrame, sums: Values, deviations: Values | None = None
) -> tuple[pd.DataFrame, Values]:
    """Return rows and maps of an attribution grid: the sums and, if given, the standard deviations `[N, C, H, W]`.

    `rows` are those of `training_integrated_gradient`; `method` names the columns of the grid.
    """
    parts = {SUM: sums} | ({} if deviations is None else {DEVIATION: deviations})
    shown = pd.concat([rows.assign(method=name) for name in parts], ignore_index=True)
    return shown, np.concatenate(list(parts.values()))


def sums_and_deviations(
    run: AnyRun, until: int | None = None, *, trials: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Values, Values | None]:
    """Return the rows and sums of `training_integrated_gradient`, and the standard deviations of the same rows.

    The deviations are None if the run has no variance. Raises ValueError as the two functions do.
    """
    run = opened(run)
    rows, sums = training_integrated_gradient(run, until, trials=trials)
    if VARIANCE not in _methods(run):
        return rows, sums, None
    table, variances = gradient_variance(run, until, trials=trials)
    # The two methods may have been asked for with different images.
    return rows, sums, np.sqrt(variances[_places(table, rows)])


def pages(
    run: AnyRun, until: int | None = None, trials: Sequence[str] | None = None
) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page, trial by trial."""
    run = opened(run)
    rows, sums, deviations = sums_and_deviations(run, until, trials=trials)
    recorded, images = recorded_class_names(run), load_images(run, rows)
    for trial, places in rows.groupby("trial", observed=True).indices.items():
        names = class_names(rows.iloc[places]) | recorded
        for number, part in enumerate(chunks(places, NUM_STRIPS), start=1):
            page, spread = rows.iloc[part], None if deviations is None else deviations[part]
            step, count = int(page["step"].iloc[0]), int(page["num_states"].iloc[0])
            shown, values = gradient_maps(page, sums[part], spread)
            methods = [SUM] if spread is None else [SUM, DEVIATION]
            figure = grid_figure(
                attribution_grid(shown, values, images, names=names, methods=methods),
                title=f"{page['model'].iloc[0]}, {trial}: gradient over {count:,} states to step {step:,}",
                num_across=min(NUM_ACROSS, len(page)),
                notes=[f"loss gradient; {SIGNED_NOTE}; {NOTE}"],
            )
            yield f"training-gradients-{file_stem(str(trial))}-{step:06d}-{number:03d}", figure


def _methods(run: Run) -> list[str]:
    return sorted(attribution_rows(run)["method"].unique())


def _summed_method(run: Run) -> str:
    """Return a method whose rows hold sums of gradients: both do, and a run may have only one of them."""
    known = _methods(run)
    return VARIANCE if INTEGRATED not in known and VARIANCE in known else INTEGRATED


def _places(table: pd.DataFrame, rows: pd.DataFrame) -> NDArray[np.intp]:
    by = ["trial", "image_index"]
    places = table.set_index(by).index.get_indexer(pd.MultiIndex.from_frame(rows[by]))
    if (places < 0).any():
        raise ValueError(f"{VARIANCE} is missing for images that have {INTEGRATED}: resume the sweep first")
    return places


def _segments(run: Run, method: str, until: int | None, trials: Sequence[str] | None) -> pd.DataFrame:
    """Return the rows of the segments to add, in order. Raises ValueError unless each state is there once."""
    rows = attribution_rows(run, methods=[method], trials=trials)
    rows["trial"] = rows["trial"].astype("str")
    rows = rows.sort_values(["trial", "image_index", "step"], kind="stable").reset_index(drop=True)
    parts = [
        _without_gaps(group, str(trial), until)
        for (trial, _), group in rows.groupby(["trial", "image_index"])
    ]
    return pd.concat(parts).reset_index(drop=True)


def _without_gaps(segments: pd.DataFrame, trial: str, until: int | None) -> pd.DataFrame:
    """Return the segments of an image up to `until`.

    A segment covers its last `num_states` states, up to and including its `step`. So the first state of each has
    to follow the last one of the segment before it: a later one leaves a gap, an earlier one counts twice.
    """
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
    """Return the last row of each trial and image, and the sum of the values of its rows, in their order."""
    by = ["trial", "image_index"]
    groups = rows.groupby(by).indices.values()
    added = np.zeros((len(groups), *values.shape[1:]))
    for total, places in zip(added, groups, strict=True):
        # One after another, so that the rounding does not depend on how numpy would pair the values.
        for place in places:
            total += values[place]
    last = rows.iloc[[places[-1] for places in groups]].reset_index(drop=True)
    last["num_states"] = [int(rows["num_states"].iloc[places].sum()) for places in groups]
    return last, added


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pages that the command line asks for, and print their paths."""
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
