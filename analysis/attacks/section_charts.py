"""The charts of an attack's section: success against ε by attack and by checkpoint, and the minimum ε."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.attacks.curves import epsilon_range
from analysis.attacks.minimum_epsilon import epsilon_limits
from analysis.attacks.section_tables import RIGHT_AT_FIRST, AttackTables
from analysis.html.choices import evenly
from analysis.html.epsilon_charts import (
    MOST_LINES,
    EpsilonChart,
    LegendEntry,
    Scale,
    epsilon_chart,
    legend,
)

MOST_PANELS = 12

_AMONG = {RIGHT_AT_FIRST: "images right to begin with", "all": "all images"}


@dataclass(frozen=True, kw_only=True)
class ChartGroup:
    """Charts whose lines mean the same; of `num_lines`, those in the legend are drawn."""

    title: str
    charts: Sequence[EpsilonChart]
    legend: Sequence[LegendEntry]
    num_lines: int


def rate_charts(tables: AttackTables) -> list[ChartGroup]:
    """Success against ε: a line for each attack and, where there are several checkpoints, one for each of them."""
    success = tables.curves[tables.curves["measure"] == "success"]
    if success.empty:
        return []
    scale = Scale(*epsilon_range(success["epsilon"]))
    panels = [
        (f"{checkpoint}: {among}", _part(success, denominator, "checkpoint", checkpoint))
        for checkpoint in tables.shown_checkpoints
        for denominator, among in _AMONG.items()
    ]
    groups = [_group("Attacks side by side", panels, "attack", tables.attacks, scale)]
    if len(tables.checkpoints) > 1:
        panels = [
            (f"{attack}: {_AMONG[RIGHT_AT_FIRST]}", _part(success, RIGHT_AT_FIRST, "attack", attack))
            for attack in tables.attacks[:MOST_PANELS]
        ]
        groups.append(_group("Checkpoints side by side", panels, "checkpoint", tables.checkpoints, scale))
    return groups


def minimum_charts(tables: AttackTables) -> ChartGroup | None:
    """The share of images whose minimum ε is at most ε; None where no minimum was sought."""
    if tables.distribution.empty:
        return None
    scale = Scale(*epsilon_limits(tables.distribution["epsilon"]))
    panels = [
        (checkpoint, tables.distribution[tables.distribution["checkpoint"] == checkpoint])
        for checkpoint in tables.shown_checkpoints
    ]
    return _group("Minimum ε", panels, "attack", tables.attacks, scale, steps=True)


def _part(success: pd.DataFrame, denominator: str, column: str, value: str) -> pd.DataFrame:
    return success[(success["denominator"] == denominator) & (success[column] == value)]


def _group(
    title: str,
    panels: Sequence[tuple[str, pd.DataFrame]],
    lines: str,
    names: Sequence[str],
    scale: Scale,
    *,
    steps: bool = False,
) -> ChartGroup:
    known = {str(name) for _, table in panels for name in table[lines].unique()}
    names = [name for name in names if name in known]
    drawn = evenly(names, MOST_LINES)
    charts = []
    for name, table in panels:
        curves = {str(line): rows for line, rows in table.groupby(lines, observed=True)}
        charts.append(epsilon_chart(curves, drawn, scale, title=name, steps=steps))
    return ChartGroup(
        title=title,
        charts=[chart for chart in charts if chart.lines],
        legend=legend(drawn, markers=not steps),
        num_lines=len(names),
    )
