"""Robust accuracy against ε in each norm, and the median minimum ε: tables, PNG and HTML.

python -m analysis.attacks.security_curves RUN --output DIR [--rounded] [--seed 0]

Robust accuracy is the share of all images that are right to begin with and that an attack does not mislead
within ε. Of an attack that seeks the minimum it is the share of images whose minimum is larger than ε. Biggio
and Roli 2018 (arXiv:1712.03141) call such a curve a security evaluation curve.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.attacks import norm_panels
from analysis.attacks.asked import lacking_notes, norm_of
from analysis.attacks.norm_panels import CLEAN, WORST, NormPanel
from analysis.attacks.norms import NAMES, ORDER
from analysis.attacks.outcomes import (
    FAILED,
    SUCCEEDED,
    ImageOutcomes,
    checkpoints_in_order,
    methods_in_order,
    read_outcomes,
)
from analysis.attacks.success_rates import DENOMINATORS
from analysis.attacks.worst_case import ANY, worst_case_table
from analysis.attacks.worst_case import notes as worst_case_notes
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.pages import chunks
from analysis.html.choices import evenly
from analysis.html.epsilon_charts import ChartGroup
from analysis.intervals import quantile_interval, wilson_interval
from analysis.run import AnyRun, open_run
from sweeps.store.terminal_text import terminal_text

NUM_PANELS = 6
# Points of a distribution of minima that are drawn.
MOST_POINTS = 500

_BY = ["checkpoint", "norm", "attack"]
_CURVES = [*_BY, "epsilon", "rate", "low", "high", "count"]
_MEDIANS = [*_BY, "denominator", "median", "low", "high", "found", "count"]


def security_table(outcomes: ImageOutcomes, run: AnyRun, worst: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return robust accuracy as `rate` by `checkpoint`, `norm`, `attack` and `epsilon`, with its interval.

    Intervals are Wilson's, 95 %. Untargeted attacks alone. Besides the methods, `attack` has the `WORST` case
    where there are several methods, and `CLEAN` accuracy at ε = 0. `worst` is the table of `worst_case_table`,
    where it is at hand.
    """
    worst = worst_case_table(outcomes, run) if worst is None else worst
    parts = []
    for checkpoint in checkpoints_in_order(outcomes, run):
        for norm in ORDER:
            curves = {
                method: curve
                for method in methods_in_order(outcomes, run)
                if norm_of(outcomes, method) == norm and len(curve := _curve(outcomes, method, checkpoint))
            }
            if not curves:
                continue
            if len(curves) > 1:
                curves |= {WORST: _worst(worst, checkpoint, norm)}
            curves |= {CLEAN: _clean(outcomes, checkpoint)}
            parts += [
                curve.assign(checkpoint=checkpoint, norm=norm, attack=name) for name, curve in curves.items()
            ]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*_CURVES, "robust"])
    table["low"], table["high"] = wilson_interval(table["robust"].astype(int), table["count"].astype(int))
    table["rate"] = table["robust"].astype(float) / table["count"].astype(float)
    return table[_CURVES]


def median_table(outcomes: ImageOutcomes, run: AnyRun, *, seed: int = 0) -> pd.DataFrame:
    """Return the median of the minimum ε by `checkpoint`, `norm`, `attack` and `denominator`.

    `low` and `high` bound it: percentile bootstrap, 95 %, 10,000 resamples of the images, drawn from `seed`. The
    median is the smallest ε that is enough for half of the images, infinite where the attack misses more than
    half. `found`: the share for which any ε is enough. Among all images, one that is wrong to begin with has the
    minimum 0. Untargeted attacks alone.
    """
    rows = []
    methods = methods_in_order(outcomes, run)
    attacks = [each for each in outcomes.attacks if each.epsilon is None and each.target is None]
    keys = {(each.images.checkpoint, each.method) for each in attacks}
    for checkpoint in checkpoints_in_order(outcomes, run):
        for method in (method for method in methods if (checkpoint, method) in keys):
            for denominator in DENOMINATORS:
                minima = _minima(outcomes, checkpoint, method, right_only=denominator != "all")
                median, low, high = quantile_interval(minima, 0.5, seed=seed)
                facts = (norm_of(outcomes, method), method, denominator, median, low, high)
                found = np.isfinite(minima).mean() if len(minima) else np.nan
                rows.append((checkpoint, *facts, found, len(minima)))
    return pd.DataFrame(rows, columns=_MEDIANS)


def panels(table: pd.DataFrame, checkpoints: Sequence[str] | None = None) -> list[NormPanel]:
    """Return a panel for each checkpoint and norm of a table of `security_table`."""
    shown = table["checkpoint"].unique() if checkpoints is None else checkpoints
    several = table["checkpoint"].nunique() > 1
    found = []
    for norm in ORDER:
        for checkpoint in shown:
            rows = table[(table["checkpoint"] == checkpoint) & (table["norm"] == norm)]
            curves = {str(name): _drawn(curve, rows) for name, curve in rows.groupby("attack", sort=False)}
            if curves:
                title = f"{NAMES[norm]} norm, {checkpoint}" if several else f"{NAMES[norm]} norm"
                found.append(NormPanel(title=title, norm=norm, curves=curves))
    return found


def figures(
    table: pd.DataFrame, subject: str, checkpoints: Sequence[str] | None = None
) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page of a table of `security_table`."""
    pages = list(chunks(panels(table, checkpoints), NUM_PANELS))
    notes = ["of all images; worst case: over the attacks of the norm; bands: 95 % intervals (Wilson)"]
    for number, chosen in enumerate(pages, start=1):
        ending = f"-{number:03d}" if len(pages) > 1 else ""
        title = f"{subject}: robust accuracy against ε"
        yield (
            f"security-curves{ending}",
            norm_panels.figure(chosen, title=title, y="robust accuracy", notes=notes),
        )


def html(table: pd.DataFrame, checkpoints: Sequence[str] | None = None) -> list[ChartGroup]:
    """Return the report's charts of a table of `security_table`."""
    return norm_panels.html(panels(table, checkpoints))


def minimum_text(epsilon: float, norm: str | None) -> str:
    """Return a minimum ε as a reader counts it: in l∞ steps of 8-bit images; a dash where there is none."""
    if not np.isfinite(epsilon):
        return "\N{EN DASH}"
    return f"{255 * epsilon:.2f}/255" if norm == "linf" else f"{epsilon:.4g}"


def _curve(outcomes: ImageOutcomes, method: str, checkpoint: str) -> pd.DataFrame:
    """Return how many of `count` images are `robust` by ε, also under a method that seeks the minimum."""
    attacks = [
        a for a in outcomes.attacks if (a.images.checkpoint, a.method, a.target) == (checkpoint, method, None)
    ]
    points: dict[float, list[int]] = {}
    for attack in attacks:
        if attack.epsilon is None:
            continue
        codes, right = outcomes.outcomes(attack), outcomes.right(attack.images)
        robust = int(((codes == FAILED) & right).sum())
        held = points.setdefault(attack.epsilon, [0, 0])
        held[0] += robust
        held[1] += int(((codes == FAILED) | (codes == SUCCEEDED)).sum())
    if points:
        rows = [(epsilon, *points[epsilon]) for epsilon in sorted(points)]
        return pd.DataFrame(rows, columns=["epsilon", "robust", "count"])
    return _distribution(_minima(outcomes, checkpoint, method))


def _distribution(minima: np.ndarray) -> pd.DataFrame:
    """Return how many of the minima are larger than ε, at 0 and at each minimum."""
    found = np.sort(minima[np.isfinite(minima)])
    epsilons = np.union1d([0.0], found)
    reached = np.searchsorted(found, epsilons, side="right")
    table = pd.DataFrame({"epsilon": epsilons, "robust": len(minima) - reached, "count": len(minima)})
    return table if len(minima) else table.iloc[:0]


def _minima(outcomes: ImageOutcomes, checkpoint: str, method: str, *, right_only: bool = False) -> np.ndarray:
    """Return the minima of an untargeted attack, 0 for an image that is wrong to begin with."""
    parts = [np.empty(0)]
    for attack in outcomes.attacks:
        if (attack.images.checkpoint, *attack[1:]) == (checkpoint, method, None, None):
            minima, right = outcomes.minima(attack), outcomes.right(attack.images)
            sought = ~np.isnan(minima)
            parts.append(np.where(right, minima, 0)[sought & right if right_only else sought])
    return np.concatenate(parts)


def _worst(worst: pd.DataFrame, checkpoint: str, norm: str) -> pd.DataFrame:
    same = (worst["checkpoint"] == checkpoint) & (worst["norm"] == norm) & (worst["aim"] == "untargeted")
    rows = worst[same & (worst["method"] == ANY) & (worst["denominator"] == "all") & (worst["count"] > 0)]
    robust = (rows["robust_accuracy"] * rows["count"]).round().astype(int)
    return pd.DataFrame({"epsilon": rows["epsilon"], "robust": robust, "count": rows["count"]})


def _clean(outcomes: ImageOutcomes, checkpoint: str) -> pd.DataFrame:
    images = [each for each in outcomes.images if each.checkpoint == checkpoint]
    right = sum(int(outcomes.right(each).sum()) for each in images)
    count = sum(outcomes.num_images(each) for each in images)
    return pd.DataFrame({"epsilon": [0.0], "robust": [right], "count": [count]})


def _drawn(curve: pd.DataFrame, panel: pd.DataFrame) -> pd.DataFrame:
    """Return the points that are drawn: clean accuracy as a level line, of many minima some."""
    if (curve["attack"] == CLEAN).all():
        last = panel.loc[panel["epsilon"].idxmax(), "epsilon"]
        level = curve.assign(low=curve["rate"], high=curve["rate"])
        return pd.concat([level, level.assign(epsilon=last)])
    return curve.iloc[evenly(range(len(curve)), MOST_POINTS)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser(
        "python -m analysis.attacks.security_curves", "Robust accuracy against ε in each norm."
    )
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap of the medians (%(default)s)")
    options = parser.parse_args(arguments)
    run = open_run(options.run)
    outcomes = read_outcomes(run, rounded=options.rounded)
    worst = worst_case_table(outcomes, run)
    table = security_table(outcomes, run, worst)
    if table.empty:
        raise ValueError(f"{run} has no untargeted attack within ε of a norm, so there is no curve")
    medians = median_table(outcomes, run, seed=options.seed)
    tables = {"security-curves": table} | ({"median-minimum-epsilon": medians} if len(medians) else {})
    for name, each in tables.items():
        for path in save_table(each, options.output, name):
            print(path)
    for path in save_pages(figures(table, outcomes.describe()), options.output):
        print(path)
    for line in worst_case_notes(worst, outcomes, run) or lacking_notes(outcomes, run):
        print(terminal_text(line))


if __name__ == "__main__":
    sys.exit(exit_status(main))
