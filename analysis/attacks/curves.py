"""Accuracy and success against ε, by attack and checkpoint, with their 95 % intervals.

python -m analysis.attacks.curves RUN --output DIR [--against label] [--rounded]
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product

import pandas as pd
from matplotlib.figure import Figure

from analysis.attacks.rows import attack_names, count_rows, is_minimum
from analysis.attacks.success_rates import (
    AGAINST,
    DENOMINATORS,
    Against,
    accuracy_counts,
    rates,
    success_counts,
)
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import (
    blank_chart,
    draw_curve,
    draw_legend,
    epsilon_axis,
    share_axis,
    style_axes,
    styles,
)
from analysis.drawing.pages import chunks

PANEL_WIDTH, PANEL_HEIGHT = 4.6, 3.4
NUM_PANELS_DOWN = 4

_BY = ("checkpoint", "attack", "epsilon")
BY = ("denominator", "measure", *_BY)
_AMONG = {"all": "among all images", "initially_correct": "among images that were right to begin with"}

_SUCCESS = {"label": "not the label", "clean_prediction": "not that of the clean image"}


def curve_table(frame: pd.DataFrame, *, against: Against = "label", rounded: bool = False) -> pd.DataFrame:
    """`measure` (accuracy, success), `denominator`, `checkpoint`, `attack`, `epsilon` and their rates.

    `attack` is the method, with a note for a targeted one, whose targets are taken together. Rates are those
    of `analysis.attacks.success_rates`. Raises ValueError where no row is of an attack at a given ε.
    """
    return curve_rates(curve_counts(frame, against=against, rounded=rounded))


def curve_counts(frame: pd.DataFrame, *, against: Against = "label", rounded: bool = False) -> pd.DataFrame:
    """What `curve_rates` makes the table of `curve_table` of. Counts of parts of the rows add up by `BY`."""
    rows = frame[~is_minimum(frame)]
    rows, parts = rows.assign(attack=attack_names(rows)), []
    for denominator in DENOMINATORS:
        tables = {
            "accuracy": accuracy_counts(rows, _BY, denominator, rounded=rounded),
            "success": success_counts(rows, _BY, denominator, against=against, rounded=rounded),
        }
        parts += [table.assign(measure=name, denominator=denominator) for name, table in tables.items()]
    # An attack aims at classes or it does not: no curve mixes the two.
    return pd.concat(parts, ignore_index=True).drop(columns=["targeted_", "untargeted_"])


def curve_rates(counts: pd.DataFrame) -> pd.DataFrame:
    """The table of `curve_table` of counts, which may be a sum of those of parts of the rows."""
    if counts.empty:
        raise ValueError("method of the rows: no attack at a given ε among them, so there is no curve")
    table = rates(counts, BY)
    return table[["measure", "denominator", *_BY, "rate", "low", "high", "count", "zero_gradient_share"]]


def curve_figure(
    table: pd.DataFrame, *, panels: str, lines: str, title: str, notes: Sequence[str] = ()
) -> Figure:
    """Figure of one measure: a panel for each value of `panels` and denominator, a curve for each of `lines`.

    Both name columns of `table`, which has rows of `curve_table`.
    """
    rows = sorted(table[panels].unique())
    look = styles(sorted(table[lines].unique()))
    height = len(rows) * PANEL_HEIGHT + 0.5 + 0.15 * len(notes)
    figure = blank_chart(2 * PANEL_WIDTH, height, title=title, notes=notes)
    grid = figure.subplots(len(rows), 2, squeeze=False, sharey=True)
    for row, value in enumerate(rows):
        for column, denominator in enumerate(DENOMINATORS):
            axes = grid[row, column]
            panel = table[(table[panels] == value) & (table["denominator"] == denominator)]
            for name, curve in panel.groupby(lines, observed=True):
                draw_curve(axes, curve, label=str(name), **look[name])
            style_axes(axes, title=f"{value}, {_AMONG[denominator]}", y=table["measure"].iloc[0])
            share_axis(axes)
            epsilon_axis(axes, *epsilon_range(table["epsilon"]))
        draw_legend(grid[row, 0])
    return figure


def epsilon_range(epsilons: pd.Series) -> tuple[float, float]:
    """The smallest positive and the largest ε; one step of 8-bit images where there is none."""
    positive = epsilons[epsilons > 0]
    return (float(positive.min()), float(positive.max())) if len(positive) else (1 / 255, 1 / 255)


def curve_figures(
    table: pd.DataFrame, subject: str, notes: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Figure]]:
    """File stem and figure: the attacks side by side and, where there are several, the checkpoints.

    `notes` are small print by measure.
    """
    views = [("checkpoint", "attack")]
    if table["checkpoint"].nunique() > 1:
        views.append(("attack", "checkpoint"))
    for measure, (panels, lines) in product(notes, views):
        pages = list(chunks(sorted(table[panels].unique()), NUM_PANELS_DOWN))
        for number, values in enumerate(pages, start=1):
            page = table[(table["measure"] == measure) & table[panels].isin(values)]
            title = f"{subject}: {measure} against ε by {lines}"
            figure = curve_figure(page, panels=panels, lines=lines, title=title, notes=notes[measure])
            ending = f"-{number:03d}" if len(pages) > 1 else ""
            yield f"attack-curves-{measure}-by-{lines}{ending}", figure


def curve_notes(table: pd.DataFrame, against: Against, rounded: bool) -> dict[str, list[str]]:
    """What a reader of the curves has to know, by measure."""
    bands = "bands: 95 % intervals (Wilson)" + ("; images rounded to 8 bits" if rounded else "")
    notes = [bands]
    zero_gradients = table["zero_gradient_share"].max()
    if zero_gradients > 0:
        notes.append(f"the gradient is zero for up to {zero_gradients:.1%} of the images of an attack")
    return {
        "accuracy": ["accuracy: the prediction is the label", *notes],
        "success": [f"success: the prediction is the target, or without one {_SUCCESS[against]}", *notes],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.attacks.curves", "Accuracy and success of attacks against ε.")
    parser.add_argument("--against", default="label", choices=AGAINST, help="what a success differs from")
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    options = parser.parse_args(arguments)
    count = partial(curve_counts, against=options.against, rounded=options.rounded)
    counts, subject = count_rows(options.run, count, BY)
    table = curve_rates(counts)
    notes = curve_notes(table, options.against, options.rounded)
    for path in save_table(table, options.output, "attack-curves"):
        print(path)
    for path in save_pages(curve_figures(table, subject, notes), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
