"""How far attribution methods agree: the rank correlation of their attributions of the same image.

python -m analysis.attribution.agreement RUN --output DIR
    [--methods NAME,NAME] [--sample N] [--seed N] [--absolute]
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.attribution.attributions import (
    STATIC,
    attribution_rows,
    attribution_shape,
    attribution_values,
    method_names,
    require_sweep,
)
from analysis.attribution.colors import channel_sum
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, style_axes
from analysis.drawing.image_grid import NAME, NOTE
from analysis.drawing.labels import FONT_FAMILY
from analysis.intervals import mean_interval

# Inches.
CELL, NAMES = 0.62, 1.8

# Of a portion: ranks take eight bytes where an attribution takes two, and sorting several times that.
_PORTION_VALUES = 1 << 23


def agreement(
    run: str | Path,
    *,
    methods: Sequence[str] | None = None,
    images: Sequence[int] | None = None,
    sample: int | None = None,
    seed: int = 0,
    absolute: bool = False,
) -> pd.DataFrame:
    """Spearman's rank correlation between each two methods: `method`, `other`, `mean`, `low`, `high`, `count`.

    The correlation is taken image by image over the pixels, their channels summed; mean and 95 % interval are
    over the images, all unless some are named, without those where an attribution is the same at all pixels.
    `sample` images are drawn by `seed`, the same in every run of the same images. `absolute`: of |attribution|.
    Raises ValueError for fewer than two methods and for a sample that is not of 2 or more.
    """
    require_sweep(run, STATIC)
    rows = attribution_rows(run, methods=methods, images=images)
    rows = _sampled(rows.assign(method=method_names(rows)), sample, seed)
    names = sorted(rows["method"].unique())
    if len(names) < 2:
        raise ValueError(f"method of the rows is {names[0]!r} alone: agreement is between two or more")
    parts = [_correlations(run, part, names, absolute) for part in _by_image(run, rows)]
    mean, low, high, count = mean_interval(np.concatenate(parts))
    pairs = pd.MultiIndex.from_product([names, names], names=["method", "other"]).to_frame(index=False)
    return pairs.assign(mean=mean.ravel(), low=low.ravel(), high=high.ravel(), count=count.ravel())


def rank_correlations(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman's correlations `[N, M, M]` between M maps `[N, M, D]` of an image each; NaN with a constant map."""
    ranks = average_ranks(maps)
    ranks -= ranks.mean(-1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=-1, keepdims=True)
    ranks /= np.where(norms > 0, norms, np.nan)
    correlations: NDArray[np.float64] = ranks @ ranks.swapaxes(-1, -2)
    return np.clip(correlations, -1, 1)


def average_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 0 along the last axis; equal values share the mean of their ranks.

    Attributions times the input are zero wherever the image is black: ties are the rule.
    """
    order = values.argsort(-1, kind="stable")
    ordered = np.take_along_axis(values, order, -1)
    changes = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*values.shape[:-1], 1), bool)
    places = np.arange(values.shape[-1], dtype=np.float64)
    first = np.maximum.accumulate(np.where(np.concatenate([edge, changes], -1), places, 0), -1)
    last = np.where(np.concatenate([changes, edge], -1), places, places[-1])
    last = np.minimum.accumulate(last[..., ::-1], -1)[..., ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, -1)
    return ranks


def agreement_figure(table: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Figure of a table of `agreement`: means as colours and numbers, with half of their interval below."""
    names = sorted(table["method"].unique())
    size = len(names) * CELL
    figure = blank_chart(max(5.5, size + NAMES + 1), size + NAMES + 0.6, title=title, notes=notes)
    axes = figure.subplots()
    means, lows = (
        table.pivot(index="method", columns="other", values=column).loc[names, names].to_numpy()
        for column in ("mean", "low")
    )
    shown = axes.imshow(means, cmap="RdBu_r", vmin=-1, vmax=1)
    for (row, column), mean in np.ndenumerate(means):
        color = "white" if abs(mean) > 0.6 else NAME.color
        # Without the sum, what rounds to 0 from below would be -0.00.
        number = "" if np.isnan(mean) else f"{round(mean, 2) + 0.0:.2f}"
        if row != column and not np.isnan(lows[row, column]):
            number += f"\n±{mean - lows[row, column]:.3f}"
        style = {"size": NOTE.size, "color": color, "family": FONT_FAMILY}
        axes.text(column, row, number, ha="center", va="center", in_layout=False, **style)
    style_axes(axes)
    axes.grid(visible=False)
    look = {"size": NOTE.size, "color": NOTE.color, "family": FONT_FAMILY, "parse_math": False}
    axes.set_xticks(range(len(names)), names, rotation=90, **look)
    axes.set_yticks(range(len(names)), names, **look)
    bar = figure.colorbar(shown, ax=axes, shrink=0.6)
    bar.ax.tick_params(labelsize=NOTE.size, labelcolor=NOTE.color)
    return figure


def _sampled(rows: pd.DataFrame, sample: int | None, seed: int) -> pd.DataFrame:
    if sample is None:
        return rows
    if sample < 2:
        raise ValueError(f"sample is {sample}: give 2 images or more")
    images = np.sort(rows["image_index"].unique())
    chosen = np.random.default_rng(seed).permutation(images)[:sample]
    return rows[rows["image_index"].isin(chosen)]


def _by_image(run: str | Path, rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows, all of an image together, a portion at a time, in the order of the files that hold them."""
    num_values = len(rows["method"].unique()) * np.prod(attribution_shape(run, rows))
    images = rows["image_index"].unique()
    size = max(1, int(_PORTION_VALUES // num_values))
    for start in range(0, len(images), size):
        yield rows[rows["image_index"].isin(images[start : start + size])]


def _correlations(
    run: str | Path, rows: pd.DataFrame, names: Sequence[str], absolute: bool
) -> NDArray[np.float64]:
    """Correlations `[N, M, M]` of the images of these rows; NaN where an image lacks a method."""
    maps = channel_sum(attribution_values(run, rows)).reshape(len(rows), -1)
    image, images = pd.factorize(rows["image_index"])
    ordered = np.zeros((len(images), len(names), maps.shape[1]), np.float32)
    ordered[image, pd.Index(names).get_indexer(rows["method"])] = np.abs(maps) if absolute else maps
    return rank_correlations(ordered)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.attribution.agreement", "How far attribution methods agree.")
    parser.add_argument("--methods", metavar="NAMES", help="these alone, such as gradient,occlusion")
    parser.add_argument("--sample", metavar="N", type=int, help="this many images; all unless given")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="draws the sample (%(default)s)")
    parser.add_argument("--absolute", action="store_true", help="ranks of |attribution|")
    options = parser.parse_args(arguments)
    table = agreement(
        options.run,
        methods=options.methods.split(",") if options.methods else None,
        sample=options.sample,
        seed=options.seed,
        absolute=options.absolute,
    )
    of = "|attribution|" if options.absolute else "attributions"
    notes = [
        f"mean over up to {table['count'].max():,} images of Spearman's rank correlation of {of} over the pixels",
        "± 95 % interval of the mean",
    ]
    for path in save_table(table, options.output, "agreement"):
        print(path)
    figure = agreement_figure(table, title="Agreement between attribution methods", notes=notes)
    for path in save_pages([("agreement", figure)], options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
