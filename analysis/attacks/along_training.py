"""Robust accuracy along a training, checkpoint by checkpoint, beside clean accuracy: table, PNG and HTML.

python -m analysis.attacks.along_training RUN --output DIR [--attack NAME] [--epsilons 1/255,8/255] [--rounded]

Checkpoints stand in the order in which the sweep names them. Without `--attack` it is the worst case over the
attacks of a norm, or the only attack of it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.attacks.norm_panels import CLEAN, WORST
from analysis.attacks.norms import NAMES, ORDER
from analysis.attacks.outcomes import checkpoints_in_order, read_outcomes
from analysis.attacks.security_curves import security_table
from analysis.attacks.worst_case import epsilon_text
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.charts import blank_chart, legend_below, name_ticks, share_axis, style_axes, styles
from analysis.html.choices import evenly
from analysis.html.step_curves import LEFT, RIGHT, WIDTH, Chart, Tick, chart
from analysis.run import open_run

MOST_EPSILONS = 5
MOST_NAMES = 3

BY = ["norm", "attack", "epsilon", "checkpoint"]
# In units of the view box, at the size that letters have on a narrow screen.
_HALF_LETTER = 5.5
# A share that a reader can tell from none, and from clean accuracy.
_VISIBLE = 0.005


@dataclass(frozen=True, kw_only=True)
class TrainingChart:
    """A chart of the report: a line for each ε, in the order of `names`."""

    title: str
    names: Sequence[str]
    chart: Chart
    label: str


def training_table(
    security: pd.DataFrame,
    checkpoints: Sequence[str],
    *,
    attack: str | None = None,
    epsilons: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Return the rows of `security_table` of one attack of each norm, with `place`, the number of the checkpoint.

    Rows of clean accuracy are among them, at ε = 0. `attack` is the worst case unless given, or the only one
    there is. `epsilons` are all. Raises ValueError for an attack or an ε that no row has.
    """
    rows = [_chosen(of_norm, attack) for _, of_norm in security.groupby("norm", sort=False)]
    table = pd.concat(rows) if rows else security
    if attack is not None and not (table["attack"] == attack).any():
        known = ", ".join(dict.fromkeys(security.loc[security["attack"] != CLEAN, "attack"]))
        raise ValueError(f"attack is {attack!r}: choose from {known}")
    if epsilons is not None:
        _refuse_unknown(epsilons, table)
        table = table[table["epsilon"].isin(epsilons) | (table["attack"] == CLEAN)]
    places = {name: place for place, name in enumerate(checkpoints)}
    table = table.assign(place=table["checkpoint"].map(places))
    return table.sort_values(["norm", "attack", "epsilon", "place"], ignore_index=True)


def lines(table: pd.DataFrame, norm: str, most: int = MOST_EPSILONS) -> dict[str, pd.DataFrame]:
    """Return the curves of a norm by name: clean accuracy, and at some ε the accuracy under attack."""
    rows = table[table["norm"] == norm]
    clean = rows[rows["attack"] == CLEAN]
    attacked = rows[(rows["attack"] != CLEAN) & (rows["epsilon"] > 0)]
    highest, lowest = (attacked.groupby("epsilon")["rate"].agg(which) for which in ("max", "min"))
    telling = highest.index[(highest > _VISIBLE) & (lowest < clean["rate"].max() - _VISIBLE)]
    epsilons = evenly(list(telling) or list(highest.index), most)
    curves = {f"ε = {epsilon_text(each, norm)}": attacked[attacked["epsilon"] == each] for each in epsilons}
    return {CLEAN: clean} | curves


def figure(table: pd.DataFrame, checkpoints: Sequence[str], *, title: str) -> Figure:
    """Draw a panel for each norm of a table of `training_table`."""
    norms = [norm for norm in ORDER if (table["norm"] == norm).any()]
    notes = [
        "right to begin with and not misled, of all images; bands: 95 % intervals (Wilson)",
        f"attack: {_attack_names(table)}",
    ]
    page = blank_chart(max(7.5, 4.6 * len(norms)), 4.3, title=title, notes=notes)
    curves = {norm: lines(table, norm) for norm in norms}
    names = list(dict.fromkeys(name for of_norm in curves.values() for name in of_norm))
    look = styles([name for name in names if name != CLEAN]) | {
        CLEAN: {"color": "#7a7a7a", "marker": "", "linestyle": ":"}
    }
    for axes, norm in zip(page.subplots(1, len(norms), squeeze=False)[0], norms, strict=True):
        for name, curve in curves[norm].items():
            axes.plot(curve["place"], curve["rate"], label=name, linewidth=1.3, markersize=3.5, **look[name])
            axes.fill_between(
                curve["place"],
                curve["low"],
                curve["high"],
                color=look[name]["color"],
                alpha=0.15,
                linewidth=0,
            )
        style_axes(
            axes, title=f"{NAMES[norm]} norm", x="checkpoint, in the order of the sweep", y="robust accuracy"
        )
        share_axis(axes)
        name_ticks(axes, "x", checkpoints)
    legend_below(page, names)
    return page


def html(table: pd.DataFrame, checkpoints: Sequence[str]) -> list[TrainingChart]:
    """Return the report's charts of a table of `training_table`: one for each norm."""
    return [_chart(lines(table, norm), norm, checkpoints) for norm in ORDER if (table["norm"] == norm).any()]


def _chart(curves: dict[str, pd.DataFrame], norm: str, checkpoints: Sequence[str]) -> TrainingChart:
    places = range(len(checkpoints))
    series = {name: curve.set_index("place").reindex(places) for name, curve in curves.items()}
    drawn = chart(
        {name: list(100 * values["rate"]) for name, values in series.items()},
        low=0,
        high=100,
        bands={name: (list(100 * each["low"]), list(100 * each["high"])) for name, each in series.items()},
    )
    across = (WIDTH - LEFT - RIGHT) / max(1, len(checkpoints) - 1)
    # A name is centred below its checkpoint, but the first one may not leave the drawing on the left.
    ticks = [
        Tick(
            place=max(LEFT + across * place, _HALF_LETTER * len(checkpoints[place])), label=checkpoints[place]
        )
        for place in evenly(places, MOST_NAMES)
    ]
    summary = "; ".join(
        f"{name} from {100 * curve['rate'].iloc[0]:.1f} to {100 * curve['rate'].iloc[-1]:.1f} %"
        for name, curve in curves.items()
        if len(curve)
    )
    return TrainingChart(
        title=f"{NAMES[norm]} norm",
        names=list(curves),
        chart=replace(drawn, x_ticks=ticks),
        label=f"Robust accuracy by checkpoint, {NAMES[norm]} norm: {summary}",
    )


def _chosen(rows: pd.DataFrame, attack: str | None) -> pd.DataFrame:
    """Return the rows of clean accuracy and of one attack of a norm."""
    known = [name for name in dict.fromkeys(rows["attack"]) if name != CLEAN]
    name = attack or (WORST if WORST in known else known[0])
    return rows[rows["attack"].isin([name, CLEAN])] if name in known else rows.iloc[:0]


def _attack_names(table: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(table.loc[table["attack"] != CLEAN, "attack"]))


def _refuse_unknown(epsilons: Sequence[float], table: pd.DataFrame) -> None:
    known = sorted(set(table.loc[table["attack"] != CLEAN, "epsilon"]))
    for epsilon in epsilons:
        if not np.isclose(epsilon, known, rtol=1e-12, atol=0).any():
            raise ValueError(
                f"epsilon is {epsilon:g}: choose from {', '.join(f'{each:g}' for each in known)}"
            )


def _numbers(text: str) -> list[float]:
    """Return the ε of a list such as `1/255,0.5`. Raises ValueError for what is no number."""
    try:
        return [float(Fraction(part)) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"epsilons is {text!r}: give numbers such as 1/255,0.5") from None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser("python -m analysis.attacks.along_training", "Robust accuracy of each checkpoint.")
    parser.add_argument("--attack", metavar="NAME", help="a method; the worst case of all unless given")
    parser.add_argument("--epsilons", metavar="LIST", help="such as 1/255,8/255; all unless given")
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    options = parser.parse_args(arguments)
    epsilons = None if options.epsilons is None else _numbers(options.epsilons)
    run = open_run(options.run)
    outcomes = read_outcomes(run, rounded=options.rounded)
    checkpoints = checkpoints_in_order(outcomes, run)
    table = training_table(
        security_table(outcomes, run), checkpoints, attack=options.attack, epsilons=epsilons
    )
    if table.empty:
        raise ValueError(f"{run} has no untargeted attack within ε of a norm, so there is no robust accuracy")
    for path in save_table(table, options.output, "along-training"):
        print(path)
    page = figure(table, checkpoints, title=f"{outcomes.describe()}: robust accuracy along training")
    for path in save_pages([("along-training", page)], options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
