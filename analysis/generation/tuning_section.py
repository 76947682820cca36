"""The section of a recipe search: which configurations were tried, how good each is, and their images."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import load
from analysis.generation import section as generation
from analysis.generation.judge_accuracy import judge_accuracy
from analysis.html.site import Section, Site
from analysis.run import Source

_COLUMNS = ("recipe", "class_index", "settings")
BEST_RECIPE = "best_recipe.yaml"


def section(source: Source, site: Site) -> Section:
    """The section of a recipe search: what was tried, then all that the section of a generation shows."""
    images = generation.section(source, site)
    if source.status.num_rows == 0:
        return images
    table = ranked(source)
    html = site.render(
        "tuning.html",
        source=source,
        objective=_objective(source),
        trials=table.to_dict("records"),
        file=f"{source.url}/{BEST_RECIPE}",
        files=[("CSV", site.table(f"{source.id}/configurations.csv", table))],
    )
    return Section(id=images.id, title=images.title, html=html + images.html)


def ranked(source: Source) -> pd.DataFrame:
    """A row per configuration, the best first: `recipe`, `rate`, `low`, `high`, `count`, `changes`, `is_base`.

    Those that saw the most classes come first, as the search has it: what saw fewer was stopped for being behind.
    """
    rows = load.results(source.url, [*_COLUMNS, "sweep", "model", "top1", "top5_hit", *_verdicts(source)])
    table = judge_accuracy(rows)
    table = table[table["judge"] == _objective(source)]
    settings = dict(zip(rows["recipe"], map(json.loads, rows["settings"]), strict=True))
    base = source.sweep.get("settings", {}).get("base", {})
    changes = [_changes(settings[recipe], base) for recipe in table["recipe"]]
    table = table.assign(changes=changes, is_base=[not change for change in changes])
    order = table.sort_values(["count", "rate", "is_base"], ascending=False, kind="stable")
    return order[["recipe", "rate", "low", "high", "count", "changes", "is_base"]].reset_index(drop=True)


def _verdicts(source: Source) -> list[str]:
    return [
        name for name in load.column_names(source.url) if name.startswith(("judge_top1.", "judge_top5_hit."))
    ]


def _objective(source: Source) -> str:
    return str(source.sweep.get("settings", {}).get("objective", ""))


def _changes(settings: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """In what a configuration differs from the base."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in settings.items()
        if base.get(name) != value
    )
