"""Success by class and ε: which classes give way first.

python -m analysis.attacks.class_success RUN --output DIR
    [--denominator initially_correct] [--against label] [--rounded]
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from analysis.attacks.rows import attack_names, attack_stem, count_rows, format_epsilon, is_minimum
from analysis.attacks.success_rates import AGAINST, DENOMINATORS, Against, Denominator, rates, success_counts
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, draw_heatmap, name_ticks, style_axes
from analysis.drawing.pages import chunks

NUM_CLASSES = 40

BY = ("checkpoint", "attack", "label", "label_name", "epsilon")


def class_table(
    frame: pd.DataFrame,
    denominator: Denominator = "initially_correct",
    *,
    against: Against = "label",
    rounded: bool = False,
) -> pd.DataFrame:
    """Return success rates by `checkpoint`, `attack`, `label`, `label_name` and `epsilon`."""
    return rates(class_counts(frame, denominator, against=against, rounded=rounded), BY)


def class_counts(
    frame: pd.DataFrame,
    denominator: Denominator = "initially_correct",
    *,
    against: Against = "label",
    rounded: bool = False,
) -> pd.DataFrame:
    """What `rates` makes the table of `class_table` of. Counts of parts of the rows add up by `BY`."""
    rows = frame[~is_minimum(frame)]
    rows = rows.assign(attack=attack_names(rows))
    return success_counts(rows, BY, denominator, against=against, rounded=rounded)


def class_figure(table: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Figure of success in percent: a row per class, a column per ε.

    `table` has rows of `class_table` of one checkpoint and attack.
    """
    rates = table.pivot(index="label", columns="epsilon", values="rate")
    named = table.drop_duplicates("label").set_index("label")["label_name"]
    width, height = max(6.5, 2 + 0.42 * rates.shape[1]), 1.7 + 0.22 * rates.shape[0] + 0.15 * len(notes)
    figure = blank_chart(width, height, title=title, notes=notes)
    axes = figure.subplots()
    draw_heatmap(axes, rates.to_numpy(), (100 * rates).round().astype("Int64"))
    name_ticks(axes, "y", [f"{label} {named[label]}" for label in rates.index])
    name_ticks(axes, "x", [format_epsilon(epsilon) for epsilon in rates.columns])
    style_axes(axes, x="ε")
    axes.grid(visible=False)
    return figure


def figures(table: pd.DataFrame, subject: str, *, notes: Sequence[str] = ()) -> Iterator[tuple[str, Figure]]:
    """File stem and figure of each page of a table of `class_table`."""
    for (checkpoint, attack), rows in table.groupby(["checkpoint", "attack"], observed=True):
        for number, labels in enumerate(chunks(sorted(rows["label"].unique()), NUM_CLASSES), start=1):
            title = f"{subject}: success by class"
            page = rows[rows["label"].isin(labels)]
            figure = class_figure(page, title=title, notes=[f"{attack}, {checkpoint}; in percent", *notes])
            yield f"class-success-{attack_stem(checkpoint, attack)}-{number:03d}", figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.attacks.class_success", "Success of attacks by class and ε.")
    parser.add_argument("--denominator", default="initially_correct", choices=DENOMINATORS)
    parser.add_argument("--against", default="label", choices=AGAINST, help="what a success differs from")
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    options = parser.parse_args(arguments)
    count = partial(
        class_counts, denominator=options.denominator, against=options.against, rounded=options.rounded
    )
    counts, subject = count_rows(options.run, count, BY)
    table = rates(counts, BY)
    for path in save_table(table, options.output, "class-success"):
        print(path)
    among = {"all": "all images", "initially_correct": "images that were right to begin with"}
    notes = [f"among {among[options.denominator]}"]
    for path in save_pages(figures(table, subject, notes=notes), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
