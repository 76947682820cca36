"""The files to download of an attack's section: tables as CSV, figures for a paper as PNG."""

from collections.abc import Iterator

import pandas as pd

from analysis.attacks import curves, minimum_epsilon
from analysis.attacks.masked_gradients import as_notes
from analysis.attacks.tables import AttackTables
from analysis.html.choices import evenly
from analysis.html.site import Site

# Points of a distribution: one for each image would be megabytes that nobody can see.
MOST_POINTS = 1000

# What a reader clicks on, and the file's path.
Files = list[tuple[str, str]]


def write_files(tables: AttackTables, site: Site, folder: str) -> dict[str, Files]:
    """Write the files and return them by the part of the section that they belong to."""
    return {
        "rates": list(_rates(tables, site, folder)),
        "curves": list(_curves(tables, site, folder)),
        "classes": list(_classes(tables, site, folder)),
        "minimum": list(_minimum(tables, site, folder)),
    }


def _rates(tables: AttackTables, site: Site, folder: str) -> Iterator[tuple[str, str]]:
    if len(tables.rates):
        yield "Download as CSV", site.table(f"{folder}/success-rates.csv", tables.rates)


def _classes(tables: AttackTables, site: Site, folder: str) -> Iterator[tuple[str, str]]:
    if len(tables.classes):
        yield "success by class as CSV", site.table(f"{folder}/class-success.csv", tables.classes)


def _curves(tables: AttackTables, site: Site, folder: str) -> Iterator[tuple[str, str]]:
    if tables.curves.empty:
        return
    notes = {
        "success": [
            *curves.curve_notes(tables.curves, "label", rounded=False)["success"],
            *as_notes(tables.warnings),
        ]
    }
    figures = curves.figures(tables.shown(tables.curves), tables.subject, notes)
    for number, (_, figure) in enumerate(figures):
        yield "figure as PNG", site.figure(f"{folder}/attack-curves-{number}.png", figure)


def _minimum(tables: AttackTables, site: Site, folder: str) -> Iterator[tuple[str, str]]:
    if tables.quartiles.empty:
        return
    yield "quartiles as CSV", site.table(f"{folder}/minimum-epsilon-quartiles.csv", tables.quartiles)
    points = _thinned(tables.distribution)
    yield "distribution as CSV", site.table(f"{folder}/minimum-epsilon.csv", points)
    figure = minimum_epsilon.figure(
        tables.shown(tables.distribution),
        title=f"{tables.subject}: minimum ε",
        notes=["among all images; 0 where the clean image is misclassified", *as_notes(tables.warnings)],
    )
    yield "figure as PNG", site.figure(f"{folder}/minimum-epsilon.png", figure)


def _thinned(distribution: pd.DataFrame) -> pd.DataFrame:
    """Return at most `MOST_POINTS` points of each curve, its ends among them."""
    lines = distribution.groupby(["checkpoint", "attack"], observed=True)
    return pd.concat([line.iloc[evenly(range(len(line)), MOST_POINTS)] for _, line in lines])
