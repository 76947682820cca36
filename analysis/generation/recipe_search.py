"""A recipe search: which configurations were tried, how good each is, and the images of all of them."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from analysis.generation import section as generation
from analysis.generation.judge_accuracy import judge_accuracy
from analysis.generation.judges import verdict_columns
from analysis.html.site import Section, Site
from analysis.run import Run

_COLUMNS = ("sweep", "model", "recipe", "class_index", "settings", "top1", "top5_hit")
BEST_RECIPE = "best_recipe.yaml"


def section(run: Run, site: Site) -> Section:
    """Make the section of a recipe search: its configurations, then the section of the generated images."""
    images = generation.section(run, site)
    if run.status.num_rows == 0:
        return images
    return Section(id=images.id, title=images.title, html=html(run, site) + images.html)


def configurations(run: Run) -> pd.DataFrame:
    """Return a row per configuration, the best first.

    Columns: `recipe`, `rate`, `low`, `high` and `count` of the judge that decides, `changes` (from the base, in
    words) and `is_base`. Configurations that saw the most classes come first, as in the search itself: one that
    saw fewer was stopped because it was behind.
    """
    rows = run.results([*_COLUMNS, *verdict_columns(run.column_names)])
    table = judge_accuracy(rows)
    table = table[table["judge"] == _objective(run)]
    settings = dict(zip(rows["recipe"], map(json.loads, rows["settings"]), strict=True))
    base = run.settings.get("base", {})
    changes = [_changes(settings[recipe], base) for recipe in table["recipe"]]
    table = table.assign(changes=changes, is_base=[not change for change in changes])
    order = table.sort_values(["count", "rate", "is_base"], ascending=False, kind="stable")
    return order[["recipe", "rate", "low", "high", "count", "changes", "is_base"]].reset_index(drop=True)


def html(run: Run, site: Site) -> Markup:
    """Render the table of the configurations; write it as CSV too."""
    table = configurations(run)
    return site.render(
        "recipe_search.html",
        run=run,
        objective=_objective(run),
        configurations=table.to_dict("records"),
        file=f"{run.url}/{BEST_RECIPE}",
        files=[("CSV", site.table(f"{run.id}/configurations.csv", table))],
    )


def _objective(run: Run) -> str:
    """Return the judge that decides which configuration is best."""
    return str(run.settings.get("objective", ""))


def _changes(settings: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """Return in words in what a configuration differs from the base; empty for the base itself."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in settings.items()
        if base.get(name) != value
    )
