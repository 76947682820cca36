"""Accuracy and success against ε, by attack and checkpoint, with 95 % intervals: table, PNG and HTML.

python -m analysis.attacks.curves RUN --output DIR [--against label] [--rounded]
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import pandas as pd
from matplotlib.figure import Figure

from analysis.attacks.masked_gradients import Signs, as_notes
from analysis.attacks.rows import attack_names, count_rows, in_asked_order, is_minimum, values_in_order
from analysis.attacks.success_rates import (
    AGAINST,
    DENOMINATORS,
    Against,
    Denominator,
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
from analysis.html.epsilon_charts import ChartGroup, Scale, chart_group
from analysis.run import open_run

PANEL_WIDTH, PANEL_HEIGHT = 4.6, 3.4
NUM_PANELS_DOWN = 4
# Attacks that a report draws a panel of checkpoints for.
MOST_PANELS = 12

_BY = ("checkpoint", "attack", "epsilon")
BY = ("denominator", "measure", *_BY)
_AMONG = {"all": "among all images", "initially_correct": "among images that were right to begin with"}

# Of charts in a report, where the images that were right come first.
_RIGHT: Denominator = "initially_correct"
_PANEL_TITLES = {_RIGHT: "images right to begin with", "all": "all images"}

_SUCCESS = {"label": "not the label", "clean_prediction": "not that of the clean image"}


def curve_table(frame: pd.DataFrame, *, against: Against = "label", rounded: bool = False) -> pd.DataFrame:
    """Return rates by `measure` (accuracy, success), `denominator`, `checkpoint`, `attack` and `epsilon`.

    `attack` is the method, with a note for a targeted one, whose targets are taken together. Rates are those
    of `analysis.attacks.success_rates`. Raises ValueError where no row is of an attack at a given ε.
    """
    return curve_rates(curve_counts(frame, against=against, rounded=rounded))


def curve_counts(frame: pd.DataFrame, *, against: Against = "label", rounded: bool = False) -> pd.DataFrame:
    """Return the counts behind `curve_table`. Counts of parts of the rows add up by `BY`."""
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
    """Return the table of `curve_table` from counts, which may be sums over parts of the rows."""
    if counts.empty:
        raise ValueError("method of the rows: no attack at a given ε among them, so there is no curve")
    table = rates(counts, BY)
    return table[["measure", "denominator", *_BY, "rate", "low", "high", "count", "zero_gradient_share"]]


def figure(table: pd.DataFrame, *, panels: str, lines: str, title: str, notes: Sequence[str] = ()) -> Figure:
    """Draw one measure: a panel for each value of `panels` and denominator, a curve for each of `lines`.

    Both name columns of `table`, which has rows of `curve_table`.
    """
    rows = values_in_order(table[panels])
    look = styles(values_in_order(table[lines]))
    height = len(rows) * PANEL_HEIGHT + 0.5 + 0.15 * len(notes)
    page = blank_chart(2 * PANEL_WIDTH, height, title=title, notes=notes)
    grid = page.subplots(len(rows), 2, squeeze=False, sharey=True)
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
    return page


def html(table: pd.DataFrame, checkpoints: Sequence[str]) -> list[ChartGroup]:
    """Return the report's charts of success: a line per attack and, if there are several, a line per checkpoint.

    `table` has rows of `curve_table`; panels are drawn of these checkpoints.
    """
    success = table[table["measure"] == "success"]
    if success.empty:
        return []
    scale = Scale(*epsilon_range(success["epsilon"]))
    attacks, every_checkpoint = values_in_order(success["attack"]), values_in_order(success["checkpoint"])
    panels = [
        (f"{checkpoint}: {among}", _curves(success, denominator, "checkpoint", checkpoint))
        for checkpoint in checkpoints
        for denominator, among in _PANEL_TITLES.items()
    ]
    groups = [chart_group("Attacks side by side", panels, attacks, scale)]
    if len(every_checkpoint) > 1:
        panels = [
            (f"{attack}: {_PANEL_TITLES[_RIGHT]}", _curves(success, _RIGHT, "attack", attack))
            for attack in attacks[:MOST_PANELS]
        ]
        groups.append(chart_group("Checkpoints side by side", panels, every_checkpoint, scale))
    return groups


def _curves(success: pd.DataFrame, denominator: str, panel: str, value: str) -> dict[str, pd.DataFrame]:
    """Return the curves of a panel, by attack or by checkpoint."""
    lines = "attack" if panel == "checkpoint" else "checkpoint"
    rows = success[(success["denominator"] == denominator) & (success[panel] == value)]
    return {str(name): curve for name, curve in rows.groupby(lines, observed=True)}


def epsilon_range(epsilons: pd.Series) -> tuple[float, float]:
    """Return the smallest positive and the largest ε; one step of 8-bit images if there is none."""
    positive = epsilons[epsilons > 0]
    return (float(positive.min()), float(positive.max())) if len(positive) else (1 / 255, 1 / 255)


def figures(
    table: pd.DataFrame, subject: str, notes: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure: the attacks side by side and, if there are several, the checkpoints.

    `notes` are small print by measure.
    """
    views = [("checkpoint", "attack")]
    if table["checkpoint"].nunique() > 1:
        views.append(("attack", "checkpoint"))
    for measure, (panels, lines) in product(notes, views):
        pages = list(chunks(values_in_order(table[panels]), NUM_PANELS_DOWN))
        for number, values in enumerate(pages, start=1):
            page = table[(table["measure"] == measure) & table[panels].isin(values)]
            title = f"{subject}: {measure} against ε by {lines}"
            page_figure = figure(page, panels=panels, lines=lines, title=title, notes=notes[measure])
            ending = f"-{number:03d}" if len(pages) > 1 else ""
            yield f"attack-curves-{measure}-by-{lines}{ending}", page_figure


def curve_notes(table: pd.DataFrame, against: Against, rounded: bool) -> dict[str, list[str]]:
    """Return what a reader of the curves has to know, by measure."""
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
    run, signs = open_run(options.run), Signs()

    def count(rows: pd.DataFrame) -> pd.DataFrame:
        signs.add(rows)
        return curve_counts(rows, against=options.against, rounded=options.rounded)

    counts, subject = count_rows(run, count, BY)
    table = curve_rates(counts)
    notes = curve_notes(table, options.against, options.rounded)
    notes = {measure: [*lines, *as_notes(signs.warnings())] for measure, lines in notes.items()}
    for path in save_table(table, options.output, "attack-curves"):
        print(path)
    for path in save_pages(figures(in_asked_order(table, run), subject, notes), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
