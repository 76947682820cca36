"""The report's sections over all attacks: worst case, security curves, training, transfer, runs compared."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice
from typing import Any

import numpy as np
import pandas as pd

from analysis.attacks import (
    along_training,
    comparison,
    comparison_views,
    security_curves,
    transfer,
    transfer_matrix,
    worst_case,
)
from analysis.attacks.along_training import TrainingChart
from analysis.attacks.norms import NAMES
from analysis.attacks.outcomes import NEEDED, ImageOutcomes, checkpoints_in_order
from analysis.attacks.pairing import Side, comparable, run_names
from analysis.attacks.rows import Sums, row_portions
from analysis.attacks.tables import MOST_CHECKPOINTS
from analysis.html.choices import evenly
from analysis.html.heatmaps import Heatmap
from analysis.html.site import Section, Site
from analysis.run import Run

# Of more pairs of runs, the rest are compared by the command alone.
MOST_PAIRS = 6
# Attacks, and ε of each, whose matrices a page shows.
MOST_ATTACKS, MOST_EPSILONS = 8, 3
MOST_COMPARED = 12

_MINIMUM = -1.0

Files = list[tuple[str, str]]


@dataclass(frozen=True)
class RobustnessTables:
    """The tables of a run that take all of its attacks together. The rows are read once, when one is asked for."""

    run: Run

    @cached_property
    def _read(self) -> tuple[ImageOutcomes, pd.DataFrame | None]:
        columns = transfer.columns_of(self.run)
        outcomes, sums = ImageOutcomes(), Sums(transfer.KEYS)
        for portion in row_portions(self.run, [*NEEDED, *columns]):
            outcomes.add(portion)
            if columns:
                sums.add(transfer.transfer_counts(portion))
        return outcomes, sums.total() if columns else None

    @property
    def outcomes(self) -> ImageOutcomes:
        """What became of each image under each attack."""
        return self._read[0]

    @property
    def transfer_counts(self) -> pd.DataFrame | None:
        """The counts of `transfer.transfer_counts`; None for a run without victims."""
        return self._read[1]

    @cached_property
    def worst(self) -> pd.DataFrame:
        """The worst case over attacks."""
        return worst_case.worst_case_table(self.outcomes, self.run)

    @cached_property
    def security(self) -> pd.DataFrame:
        """Robust accuracy against ε."""
        return security_curves.security_table(self.outcomes, self.run, self.worst)

    @cached_property
    def medians(self) -> pd.DataFrame:
        """Medians of the minimum ε."""
        return security_curves.median_table(self.outcomes, self.run)

    @cached_property
    def training(self) -> pd.DataFrame:
        """Robust accuracy by checkpoint; empty for a run of one checkpoint."""
        if len(self.checkpoints) < 2 or self.security.empty:
            return self.security.iloc[:0]
        return along_training.training_table(self.security, self.checkpoints)

    @cached_property
    def transfer(self) -> pd.DataFrame:
        """Transfer to the victims of the run."""
        counts = self.transfer_counts
        return transfer.transfer_table([] if counts is None else [(self.run, counts)])

    @property
    def checkpoints(self) -> list[str]:
        """All checkpoints, in the order of the sweep."""
        return checkpoints_in_order(self.outcomes, self.run)

    @property
    def shown_checkpoints(self) -> list[str]:
        """The checkpoints that are drawn."""
        return evenly(self.checkpoints, MOST_CHECKPOINTS)


@dataclass(frozen=True, kw_only=True)
class TransferView:
    """An attack's transfer: a title for each matrix, and the matrix."""

    attack: str
    matrices: Sequence[tuple[str, Heatmap]]


def sections(runs: Sequence[Run], site: Site) -> list[Section]:
    """Return the sections of attack runs: the robustness of each, their transfer, and each pair compared."""
    tables = [RobustnessTables(run) for run in runs if run.status.num_rows]
    found = [_robustness(each, site) for each in tables]
    found.append(_transfer_of_all(tables, site))
    found += _comparisons(tables, site)
    return [each for each in found if each is not None]


def _robustness(tables: RobustnessTables, site: Site) -> Section | None:
    """Return the section of a run; None for one without any attack that has a norm, and without victims."""
    run = tables.run
    if tables.security.empty and tables.worst.empty and tables.transfer.empty:
        return None
    html = site.render(
        "robustness.html",
        run=run,
        subject=tables.outcomes.describe(),
        notes=worst_case.notes(tables.worst, tables.outcomes, run),
        worst=_worst_groups(tables),
        security_charts=security_curves.html(tables.security, tables.shown_checkpoints),
        num_checkpoints=len(tables.checkpoints),
        shown_checkpoints=tables.shown_checkpoints,
        medians=_medians(tables),
        training_charts=_training_charts(tables),
        transfers=_by_epsilon(tables),
        files={name: list(files) for name, files in _files(tables, site).items()},
    )
    return Section(id=f"{run.id}-robustness", title=f"Robustness: {run.name}", html=html)


def _worst_groups(tables: RobustnessTables) -> list[dict[str, Any]]:
    """Return for each checkpoint, aim and norm with several methods a row per ε."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in worst_case.side_by_side(tables.worst):
        if row["checkpoint"] in tables.shown_checkpoints and row["num_methods"] > 1:
            row["epsilon_text"] = worst_case.epsilon_text(row["epsilon"], row["norm"])
            groups.setdefault((row["checkpoint"], row["aim"], row["norm"]), []).append(row)
    return [
        {"checkpoint": checkpoint, "aim": aim, "norm": NAMES[norm], "rows": rows}
        for (checkpoint, aim, norm), rows in groups.items()
    ]


def _medians(tables: RobustnessTables) -> list[dict[Any, Any]]:
    """Return the medians as texts."""
    rows = tables.medians[tables.medians["checkpoint"].isin(tables.shown_checkpoints)]
    return [
        {
            **row,
            "norm_name": NAMES.get(row["norm"], "of the attack's own"),
            "among": worst_case.AMONG[row["denominator"]],
            **{
                name: security_curves.minimum_text(row[name], row["norm"])
                for name in ("median", "low", "high")
            },
        }
        for row in rows.to_dict("records")
    ]


def _training_charts(tables: RobustnessTables) -> list[TrainingChart]:
    return along_training.html(tables.training, tables.checkpoints) if len(tables.training) else []


def _by_epsilon(tables: RobustnessTables) -> list[TransferView]:
    """Return the transfer of a run: for each attack and checkpoint a row per ε, a column per victim."""
    table = tables.transfer
    views = []
    for attack, of_attack in table.groupby("attack", observed=True):
        matrices = []
        for checkpoint, rows in of_attack.groupby("checkpoint", observed=True):
            if checkpoint not in tables.shown_checkpoints:
                continue
            # A minimum has no ε, and no two missing values are the same.
            rows = rows.assign(epsilon=rows["epsilon"].fillna(_MINIMUM))
            epsilons = [np.nan if each == _MINIMUM else each for each in dict.fromkeys(rows["epsilon"])]
            names = [transfer_matrix.epsilon_name(each) for each in epsilons]
            title = str(checkpoint) if len(tables.checkpoints) > 1 else ""
            matrices.append((title, transfer_matrix.html(rows, "epsilon", names, corner="ε")))
        views.append(TransferView(attack=str(attack), matrices=matrices))
    return views[:MOST_ATTACKS]


def _files(tables: RobustnessTables, site: Site) -> dict[str, Iterator[tuple[str, str]]]:
    folder = tables.run.id
    subject = tables.outcomes.describe()
    return {
        "worst": _saved(site, folder, "worst-case", tables.worst, worst_case.figures(tables.worst, subject)),
        "security": _saved(
            site,
            folder,
            "security-curves",
            tables.security,
            security_curves.figures(tables.security, subject, tables.shown_checkpoints),
        ),
        "medians": _saved(site, folder, "median-minimum-epsilon", tables.medians),
        "training": _saved(
            site, folder, "along-training", tables.training, _training_figure(tables, subject)
        ),
        "transfer": _saved(site, folder, "transfer", tables.transfer),
    }


def _saved(
    site: Site, folder: str, name: str, table: pd.DataFrame, figures: Iterable[tuple[str, Any]] = ()
) -> Iterator[tuple[str, str]]:
    """Write a table and its figures, unless it is empty; yield what a reader clicks on, and the path."""
    if table.empty:
        return
    yield f"{name} as CSV", site.table(f"{folder}/{name}.csv", table)
    for number, (stem, figure) in enumerate(figures):
        yield f"{stem} as PNG", site.figure(f"{folder}/{name}-{number}.png", figure)


def _training_figure(tables: RobustnessTables, subject: str) -> Iterator[tuple[str, Any]]:
    if len(tables.training):
        title = f"{subject}: robust accuracy along training"
        yield "along-training", along_training.figure(tables.training, tables.checkpoints, title=title)


def _transfer_figures(
    table: pd.DataFrame, all_tables: Sequence[RobustnessTables]
) -> Iterator[tuple[str, Any]]:
    # Each takes a second to draw; the command draws all.
    subject = transfer.subject([each.run for each in all_tables])
    return islice(transfer_matrix.figures(table, subject), MOST_ATTACKS)


def _transfer_of_all(all_tables: Sequence[RobustnessTables], site: Site) -> Section | None:
    """Return the matrix of the sources of all runs by victims; None for runs without victims."""
    held = [each for each in all_tables if each.transfer_counts is not None]
    if not held:
        return None
    table = transfer.transfer_table([(each.run, each.transfer_counts) for each in held])
    rows = transfer_matrix.with_rows(table)
    views = []
    for attack, of_attack in rows.groupby("attack", observed=True):
        matrices = []
        for epsilon in transfer_matrix.drawn_epsilons(of_attack, MOST_EPSILONS):
            chosen = transfer_matrix.at_epsilon(of_attack, epsilon)
            names = list(dict.fromkeys(chosen["row"]))
            heat = transfer_matrix.html(chosen, "row", names, corner="Source")
            matrices.append((transfer_matrix.epsilon_name(epsilon), heat))
        views.append(TransferView(attack=str(attack), matrices=matrices))
    files = list(_saved(site, held[0].run.id, "transfer-of-all-runs", table, _transfer_figures(table, held)))
    html = site.render(
        "transfer.html", views=views[:MOST_ATTACKS], num_views=len(views), files=files, num_runs=len(held)
    )
    return Section(id="transfer", title="Transfer between models", html=html)


def _comparisons(all_tables: Sequence[RobustnessTables], site: Site) -> Iterator[Section]:
    pairs = [(one, other) for one, other in combinations(all_tables, 2) if comparable(one.run, other.run)]
    for one, other in pairs[:MOST_PAIRS]:
        names = run_names(one.run, other.run)
        sides = (
            Side(name=name, outcomes=each.outcomes) for name, each in zip(names, (one, other), strict=True)
        )
        table = comparison.compare(*sides)
        if table["count"].sum() == 0:
            continue
        folder, name = one.run.id, f"comparison-with-{other.run.id}"
        html = site.render(
            "comparison.html",
            id=f"{folder}-{name}",
            names=names,
            groups=(groups := comparison_views.groups(table))[:MOST_COMPARED],
            num_groups=len(groups),
            has_worst=bool(comparison_views.is_worst(table).any()),
            left_out=len(pairs) - MOST_PAIRS,
            files=list(_saved(site, folder, name, table, comparison_views.figures(table, *names))),
        )
        yield Section(id=f"{folder}-{name}", title=f"Comparison: {names[0]} and {names[1]}", html=html)
