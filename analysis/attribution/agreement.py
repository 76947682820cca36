"""How far attribution methods agree: the rank correlation of their attributions of the same image.

python -m analysis.attribution.agreement RUN --output DIR
    [--methods NAME,NAME] [--checkpoint NAME] [--sample N] [--seed N] [--absolute]

`agreement` computes the table; `agreement_figure` (PNG) and `agreement_html` (report) show its `matrix`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.attribution.attributions import (
    STATIC,
    attribution_values,
    named_rows,
)
from analysis.attribution.checkpoints import one_checkpoint
from analysis.attribution.choice import method_order
from analysis.attribution.colors import channel_sum
from analysis.attribution.image_portions import image_portions, sampled
from analysis.attribution.rank_correlation import rank_correlations
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, style_axes
from analysis.drawing.image_grid import NAME, NOTE
from analysis.drawing.labels import FONT_FAMILY
from analysis.html.choices import in_order
from analysis.html.site import Site
from analysis.intervals import mean_interval
from analysis.run import AnyRun, Run, open_run, open_sweep

# Inches.
CELL, NAMES = 0.62, 1.8

# Shades of colour in each direction: as many as the style sheet of the report has.
NUM_LEVELS = 10

# Values in a portion: ranks take eight bytes where an attribution takes two, and sorting several times that.
_PORTION_VALUES = 1 << 23


@dataclass(frozen=True, kw_only=True)
class AgreementCell:
    """Agreement of two methods as it is shown: the mean, half of its interval, and the shade of its colour.

    `mean` and `half_width` are texts, empty if unknown; `level` is from -10 to 10, None if the mean is unknown.
    """

    mean: str
    half_width: str
    level: int | None

    @property
    def color(self) -> str:
        """Name of the colour in the style sheet: `p1` to `p10` for agreement, `n1` to `n10` for the opposite."""
        return "" if self.level is None else f"{'n' if self.level < 0 else 'p'}{abs(self.level)}"


def agreement(
    run: AnyRun,
    *,
    methods: Sequence[str] | None = None,
    checkpoint: str | None = None,
    images: Sequence[int] | None = None,
    sample: int | None = None,
    seed: int = 0,
    absolute: bool = False,
) -> pd.DataFrame:
    """Return Spearman's rank correlation between each two methods.

    Columns: `method`, `other`, `mean`, `low`, `high` (95 %) and `count`. The correlation is taken image by image
    over the pixels, their channels summed; mean and interval are over the images, all unless some are named,
    without those where an attribution is the same at all pixels. `sample` images are drawn by `seed`, the same
    in every run of the same images. `absolute` ranks |attribution|. All maps are of one `checkpoint`: `trained` or
    the only one, unless it is named. Raises ValueError for fewer than two methods and for a sample below 2.
    """
    run = open_sweep(run, STATIC)
    rows = one_checkpoint(named_rows(run, methods=methods, images=images), checkpoint)
    rows = sampled(rows, sample, seed)
    names = sorted(rows["method"].unique())
    if len(names) < 2:
        raise ValueError(f"method of the rows is {names[0]!r} alone: agreement is between two or more")
    parts = [_correlations(run, part, names, absolute) for part in image_portions(run, rows, _PORTION_VALUES)]
    mean, low, high, count = mean_interval(np.concatenate(parts))
    pairs = pd.MultiIndex.from_product([names, names], names=["method", "other"]).to_frame(index=False)
    return pairs.assign(mean=mean.ravel(), low=low.ravel(), high=high.ravel(), count=count.ravel())


def matrix(table: pd.DataFrame, methods: Sequence[str]) -> list[list[AgreementCell]]:
    """Return the cells of a table of `agreement` as they are shown, rows and columns in this order."""
    by = table.set_index(["method", "other"])
    return [[_cell(by.loc[(method, other)]) for other in methods] for method in methods]


def agreement_figure(
    table: pd.DataFrame,
    *,
    title: str,
    methods: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """Return the figure of a table of `agreement`: means as colours and numbers, with half of their interval.

    `methods` is the order of rows and columns, that of the table unless given.
    """
    names = list(table["method"].unique()) if methods is None else list(methods)
    cells, size = matrix(table, names), len(names) * CELL
    figure = blank_chart(max(5.5, size + NAMES + 1), size + NAMES + 0.6, title=title, notes=notes)
    axes = figure.subplots()
    shares = [[np.nan if cell.level is None else cell.level / NUM_LEVELS for cell in row] for row in cells]
    shades = matplotlib.colormaps["RdBu_r"].resampled(2 * NUM_LEVELS + 1)
    drawn = axes.imshow(shares, cmap=shades, vmin=-1, vmax=1)
    for (row, column), share in np.ndenumerate(np.array(shares)):
        cell = cells[row][column]
        text = cell.mean
        if row != column and cell.half_width:
            text += f"\n±{cell.half_width}"
        style = {
            "size": NOTE.size,
            "color": "white" if abs(share) > 0.6 else NAME.color,
            "family": FONT_FAMILY,
        }
        axes.text(column, row, text, ha="center", va="center", in_layout=False, **style)
    style_axes(axes)
    axes.grid(visible=False)
    look = {"size": NOTE.size, "color": NOTE.color, "family": FONT_FAMILY, "parse_math": False}
    axes.set_xticks(range(len(names)), names, rotation=90, **look)
    axes.set_yticks(range(len(names)), names, **look)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.6)
    bar.ax.tick_params(labelsize=NOTE.size, labelcolor=NOTE.color)
    return figure


def agreement_html(table: pd.DataFrame | None, site: Site, folder: str, *, methods: Sequence[str]) -> Markup:
    """Write a table of `agreement` and its figure to a folder of the report, and return the HTML.

    None stands for a run with a single method. `folder` also begins the anchors. `methods` is the order
    of rows and columns.
    """
    if table is None:
        return site.render("agreement.html", id=folder, rows=[], num_compared=0, files=[])
    names = in_order(table["method"].unique(), methods)
    figure = agreement_figure(table, title="Agreement between attribution methods", methods=names)
    files = [
        ("CSV", site.table(f"{folder}/agreement.csv", table)),
        ("figure as PNG", site.figure(f"{folder}/agreement.png", figure)),
    ]
    return site.render(
        "agreement.html",
        id=folder,
        rows=list(zip(names, matrix(table, names), strict=True)),
        num_compared=int(table["count"].max()),
        files=files,
    )


def _cell(pair: pd.Series) -> AgreementCell:
    mean = float(pair["mean"])
    if np.isnan(mean):
        return AgreementCell(mean="", half_width="", level=None)
    half_width = "" if np.isnan(pair["low"]) else f"{mean - pair['low']:.2f}"
    # Adding 0 turns the -0.00 of a mean that rounds to 0 from below into 0.00.
    return AgreementCell(
        mean=f"{round(mean, 2) + 0.0:.2f}", half_width=half_width, level=round(NUM_LEVELS * mean)
    )


def _correlations(run: Run, rows: pd.DataFrame, names: Sequence[str], absolute: bool) -> NDArray[np.float64]:
    """Return the correlations `[N, M, M]` of the images of these rows; NaN where an image lacks a method."""
    maps = channel_sum(attribution_values(run, rows)).reshape(len(rows), -1)
    image, images = pd.factorize(rows["image_index"])
    ordered = np.zeros((len(images), len(names), maps.shape[1]), np.float32)
    ordered[image, pd.Index(names).get_indexer(rows["method"])] = np.abs(maps) if absolute else maps
    return rank_correlations(ordered)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table and the figure that the command line asks for, and print their paths."""
    parser = figure_parser("python -m analysis.attribution.agreement", "How far attribution methods agree.")
    parser.add_argument("--methods", metavar="NAMES", help="these alone, such as gradient,occlusion")
    parser.add_argument("--checkpoint", metavar="NAME", help="whose maps; trained, or the only one")
    parser.add_argument("--sample", metavar="N", type=int, help="this many images; all unless given")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="draws the sample (%(default)s)")
    parser.add_argument("--absolute", action="store_true", help="ranks of |attribution|")
    options = parser.parse_args(arguments)
    run = open_run(options.run)
    table = agreement(
        run,
        methods=options.methods.split(",") if options.methods else None,
        checkpoint=options.checkpoint,
        sample=options.sample,
        seed=options.seed,
        absolute=options.absolute,
    )
    of = "|attribution|" if options.absolute else "attributions"
    notes = [
        f"mean over up to {table['count'].max():,} images of Spearman's rank correlation of {of} over the pixels",
        "± 95 % interval of the mean",
    ]
    if options.checkpoint is not None:
        notes.append(f"of checkpoint {options.checkpoint}")
    for path in save_table(table, options.output, "agreement"):
        print(path)
    figure = agreement_figure(
        table,
        title="Agreement between attribution methods",
        methods=method_order(run, table["method"].unique()),
        notes=notes,
    )
    for path in save_pages([("agreement", figure)], options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
