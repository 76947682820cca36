"""Two runs, methods or checkpoints on the same images: whether one misleads more of them, and by how much.

python -m analysis.attacks.comparison RUN RUN --output DIR [--rounded] [--format text|markdown|latex|csv]
python -m analysis.attacks.comparison RUN --methods fgsm,pgd --output DIR
python -m analysis.attacks.comparison RUN --checkpoints untrained,trained --output DIR

The images are paired, so that what is compared is each image with itself: `analysis.paired` has the test and the
interval. The p-values are not corrected for the number of rows. Where both sides have several methods of one norm
at an ε, a further row is the worst case: an image counts as misled if any of these methods misleads it. It is of
the images for which both sides have all of these methods.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attacks.comparison_views import figures, is_worst, summary
from analysis.attacks.norms import ORDER
from analysis.attacks.outcomes import read_outcomes
from analysis.attacks.pairing import (
    PairedRow,
    Side,
    common_places,
    numbers_of,
    pairs,
    refuse_other_images,
    run_names,
)
from analysis.attacks.success_rates import DENOMINATORS
from analysis.command_line import exit_status, save_pages, save_table
from analysis.paired import mcnemar, paired_difference
from analysis.run import Run, open_runs
from analysis.text_tables import FORMATS, text_table
from sweeps.store.terminal_text import terminal_text

BY = ["checkpoint", "attack", "epsilon"]
_COLUMNS = [
    *BY,
    "norm",
    "denominator",
    "first_rate",
    "second_rate",
    "difference",
    "low",
    "high",
    "p_exact",
    "p_mid",
    "count",
    "both",
    "only_first",
    "only_second",
    "neither",
]


def compare(first: Side, second: Side) -> pd.DataFrame:
    """Return success on both sides by `BY` and `denominator`, of the images that both attack.

    `difference` is the first rate minus the second, with Newcombe's interval (95 %), `p_exact` and `p_mid` are
    of McNemar's test. `denominator`: all images, or those that both sides have right to begin with. Of `count`
    images, `both` sides mislead so many, one alone `only_first` and `only_second`, and `neither` the rest.
    Targets of a targeted attack are taken together. The epsilon of methods that seek the minimum is NaN: success
    is that any ε is found.

    Rows whose `attack` is `ANY` stand first in their norm. An image counts there as misled if any method misleads
    it that both sides have in this norm at this ε; a minimum counts where it is at most ε.
    """
    places = common_places(first.outcomes.image_index, second.outcomes.image_index)
    tables: dict[PairedRow, dict[str, NDArray[np.int64]]] = {}
    for pair in pairs(first, second):
        held = tables.setdefault(pair.row, {})
        for denominator, numbers in numbers_of(first, second, pair, places).items():
            held[denominator] = held.get(denominator, 0) + numbers
    rows = [
        _facts(row, denominator, *map(int, held[denominator]))
        for row, held in tables.items()
        for denominator in DENOMINATORS
    ]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    # As elsewhere: the attacks of most people's norm first, and before them their worst case.
    order = {norm: place for place, norm in enumerate((*ORDER, ""))}
    table = table.assign(place=table["norm"].map(order), single=~is_worst(table)).sort_values(
        ["checkpoint", "place", "single", "attack", "epsilon"]
    )
    return table[_COLUMNS].reset_index(drop=True)


def compare_runs(first: Run, second: Run, *, rounded: bool = False) -> pd.DataFrame:
    """Return the table of `compare` of two runs. Raises ValueError where they share no attack or image."""
    refuse_other_images(first, second)
    names = run_names(first, second)
    sides = [
        Side(name=name, outcomes=read_outcomes(run, rounded=rounded))
        for name, run in zip(names, (first, second), strict=True)
    ]
    table = compare(*sides)
    if table["count"].sum() == 0:
        raise ValueError(
            f"{first} and {second} share no attack on the same image: give runs of the same data set and split, "
            "with a method and an ε in common"
        )
    return table


def _facts(
    row: PairedRow, denominator: str, both: int, only_first: int, only_second: int, neither: int
) -> dict[str, object]:
    count = both + only_first + only_second + neither
    difference, low, high = paired_difference(both, only_first, only_second, neither)
    exact, mid = mcnemar(only_first, only_second)
    return {
        **row._asdict(),
        "epsilon": np.nan if row.epsilon is None else row.epsilon,
        "denominator": denominator,
        "first_rate": (both + only_first) / count if count else np.nan,
        "second_rate": (both + only_second) / count if count else np.nan,
        "difference": difference,
        "low": low,
        "high": high,
        "p_exact": exact,
        "p_mid": mid,
        "count": count,
        "both": both,
        "only_first": only_first,
        "only_second": only_second,
        "neither": neither,
    }


def _sides(options: argparse.Namespace) -> tuple[Side, Side]:
    """Return the two sides that the command line names. Raises ValueError unless there are two."""
    runs = open_runs(options.runs)
    axis, text = ("method", options.methods) if options.methods else ("checkpoint", options.checkpoints)
    if options.methods and options.checkpoints:
        raise ValueError("methods and checkpoints are both given: compare one of them")
    if text is None:
        if len(runs) != 2:
            raise ValueError(f"runs are {len(runs)}: give two, or one with --methods or --checkpoints")
        refuse_other_images(*runs)
        names = run_names(*runs)
        ones = [read_outcomes(run, rounded=options.rounded) for run in runs]
        return Side(name=names[0], outcomes=ones[0]), Side(name=names[1], outcomes=ones[1])
    return _sides_of_one(runs, axis, text.split(","), rounded=options.rounded)


def _sides_of_one(
    runs: Sequence[Run], axis: str, values: Sequence[str], *, rounded: bool
) -> tuple[Side, Side]:
    if len(runs) != 1 or len(values) != 2:
        raise ValueError(f"{axis}s are {','.join(values)} of {len(runs)} runs: give two of one run")
    outcomes = read_outcomes(runs[0], rounded=rounded)
    known = {each.method if axis == "method" else each.images.checkpoint for each in outcomes.attacks}
    for value in values:
        if value not in known:
            raise ValueError(f"{axis} is {value!r}: choose from {', '.join(sorted(known))}")
    first, second = (Side(name=value, outcomes=outcomes, **{axis: value}) for value in values)
    return first, second


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.attacks.comparison",
        description="Compare attacks on the same images, in pairs.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="two run directories, or one with --methods")
    parser.add_argument("--methods", metavar="A,B", help="two methods of one run")
    parser.add_argument("--checkpoints", metavar="A,B", help="two checkpoints of one run")
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder for what is written"
    )
    parser.add_argument("--format", default="text", choices=FORMATS, help="of the table that is printed")
    options = parser.parse_args(arguments)
    first, second = _sides(options)
    table = compare(first, second)
    if table["count"].sum() == 0:
        raise ValueError(
            f"{first.name} and {second.name} share no attack on the same image: give those of the same data set "
            "and split, with an ε in common"
        )
    print(text_table(summary(table, first.name, second.name), options.format))
    paths = [*save_table(table, options.output, "comparison")]
    paths += save_pages(figures(table, first.name, second.name), options.output)
    for path in paths:
        print(terminal_text(str(path)), file=sys.stdout if options.format == "text" else sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status(main))
