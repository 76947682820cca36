"""Success by class and ε, which says which classes give way first: table, PNG and HTML.

python -m analysis.attacks.class_success RUN --output DIR
    [--denominator initially_correct] [--against label] [--rounded]
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from analysis.attacks.rows import attack_names, attack_stem, count_rows, in_asked_order, is_minimum
from analysis.attacks.success_rates import AGAINST, DENOMINATORS, Against, Denominator, rates, success_counts
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, draw_heatmap, name_ticks, style_axes
from analysis.drawing.pages import chunks
from analysis.html.heatmaps import Heading, Heatmap, heatmap
from analysis.naming import format_epsilon
from analysis.run import open_run

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
    """Return the counts behind `class_table`. Counts of parts of the rows add up by `BY`."""
    rows = frame[~is_minimum(frame)]
    rows = rows.assign(attack=attack_names(rows))
    return success_counts(rows, BY, denominator, against=against, rounded=rounded)


@dataclass(frozen=True)
class ClassGrid:
    """What both the figure and the report show of a checkpoint and attack: rates and percents by class and ε."""

    rates: pd.DataFrame
    percents: pd.DataFrame
    classes: list[str]
    epsilons: list[str]


def class_grid(table: pd.DataFrame, *, most: int | None = None) -> ClassGrid:
    """Return the rates of rows of `class_table` of one checkpoint and attack, a row per class, a column per ε.

    `most`: of more classes, half of it are those that give way least, the other half those that give way most.
    """
    rates = table.pivot(index="label", columns="epsilon", values="rate")
    if most is not None and len(rates) > most:
        ordered = rates.mean(axis=1).sort_values(kind="stable").index
        rates = rates.loc[[*ordered[: most // 2], *ordered[-(most // 2) :]]]
    names = table.drop_duplicates("label").set_index("label")["label_name"]
    return ClassGrid(
        rates=rates,
        percents=(100 * rates).round().astype("Int64"),
        classes=[f"{label} {names[label]}" for label in rates.index],
        epsilons=[format_epsilon(epsilon) for epsilon in rates.columns],
    )


def figure(table: pd.DataFrame, *, title: str, notes: Sequence[str] = ()) -> Figure:
    """Draw success in percent, from rows of `class_table` of one checkpoint and attack."""
    grid = class_grid(table)
    num_classes, num_epsilons = grid.rates.shape
    width, height = max(6.5, 2 + 0.42 * num_epsilons), 1.7 + 0.22 * num_classes + 0.15 * len(notes)
    page = blank_chart(width, height, title=title, notes=notes)
    axes = page.subplots()
    draw_heatmap(axes, grid.rates.to_numpy(), grid.percents)
    name_ticks(axes, "y", grid.classes)
    name_ticks(axes, "x", grid.epsilons)
    style_axes(axes, x="ε")
    axes.grid(visible=False)
    return page


def html(table: pd.DataFrame, *, most: int | None = None) -> Heatmap:
    """Return the report's table of success in percent, from rows of `class_table` as `class_grid` takes them."""
    grid = class_grid(table, most=most)
    return heatmap(
        grid.rates,
        lambda row, column: str(grid.percents.iat[row, column]),
        corner="Class",
        columns=[Heading(text=epsilon) for epsilon in grid.epsilons],
        rows=[Heading(text=name) for name in grid.classes],
    )


def figures(table: pd.DataFrame, subject: str, *, notes: Sequence[str] = ()) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page of a table of `class_table`."""
    for (checkpoint, attack), rows in table.groupby(["checkpoint", "attack"], observed=True):
        for number, labels in enumerate(chunks(sorted(rows["label"].unique()), NUM_CLASSES), start=1):
            page = figure(
                rows[rows["label"].isin(labels)],
                title=f"{subject}: success by class",
                notes=[f"{attack}, {checkpoint}; in percent", *notes],
            )
            yield f"class-success-{attack_stem(checkpoint, attack)}-{number:03d}", page


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.attacks.class_success", "Success of attacks by class and ε.")
    parser.add_argument(
        "--denominator",
        default="initially_correct",
        choices=DENOMINATORS,
        help="images that a rate is of (%(default)s)",
    )
    parser.add_argument("--against", default="label", choices=AGAINST, help="what a success differs from")
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    options = parser.parse_args(arguments)
    count = partial(
        class_counts, denominator=options.denominator, against=options.against, rounded=options.rounded
    )
    run = open_run(options.run)
    counts, subject = count_rows(run, count, BY)
    table = rates(counts, BY)
    for path in save_table(table, options.output, "class-success"):
        print(path)
    among = {"all": "all images", "initially_correct": "images that were right to begin with"}
    notes = [f"among {among[options.denominator]}"]
    for path in save_pages(figures(in_asked_order(table, run), subject, notes=notes), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
