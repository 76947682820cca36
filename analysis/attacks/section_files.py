"""The files to download of an attack's section: tables as CSV, figures for a paper as PNG."""

from collections.abc import Iterator

import pandas as pd

from analysis.attacks.curves import curve_figures, curve_notes
from analysis.attacks.minimum_epsilon import distribution_figure
from analysis.attacks.section_tables import AttackTables
from analysis.html.choices import evenly
from analysis.html.site import Site
from analysis.run import Source

# Points of a distribution: one for each image would be megabytes that nobody can see.
MOST_POINTS = 1000

# What a reader clicks on, and the file's path.
Files = list[tuple[str, str]]


def write_files(source: Source, site: Site, tables: AttackTables) -> dict[str, Files]:
    """Writes the files and returns them by the part of the section that they belong to."""
    return {
        "rates": list(_rates(source, site, tables)),
        "curves": list(_curves(source, site, tables)),
        "classes": list(_classes(source, site, tables)),
        "minimum": list(_minimum(source, site, tables)),
    }


def _rates(source: Source, site: Site, tables: AttackTables) -> Iterator[tuple[str, str]]:
    if len(tables.rates):
        yield "Download as CSV", site.table(f"{source.id}/success-rates.csv", tables.rates)


def _classes(source: Source, site: Site, tables: AttackTables) -> Iterator[tuple[str, str]]:
    if len(tables.classes):
        yield "success by class as CSV", site.table(f"{source.id}/class-success.csv", tables.classes)


def _curves(source: Source, site: Site, tables: AttackTables) -> Iterator[tuple[str, str]]:
    if tables.curves.empty:
        return
    notes = {"success": curve_notes(tables.curves, "label", rounded=False)["success"]}
    figures = curve_figures(_shown(tables.curves, tables), tables.subject, notes)
    for number, (_, figure) in enumerate(figures):
        yield "figure as PNG", site.figure(f"{source.id}/attack-curves-{number}.png", figure)


def _minimum(source: Source, site: Site, tables: AttackTables) -> Iterator[tuple[str, str]]:
    if tables.quartiles.empty:
        return
    yield "quartiles as CSV", site.table(f"{source.id}/minimum-epsilon-quartiles.csv", tables.quartiles)
    points = _thinned(tables.distribution)
    yield "distribution as CSV", site.table(f"{source.id}/minimum-epsilon.csv", points)
    figure = distribution_figure(
        _shown(tables.distribution, tables),
        title=f"{tables.subject}: minimum ε",
        notes=["among all images; 0 where the clean image is misclassified"],
    )
    yield "figure as PNG", site.figure(f"{source.id}/minimum-epsilon.png", figure)


def _shown(table: pd.DataFrame, tables: AttackTables) -> pd.DataFrame:
    return table[table["checkpoint"].isin(tables.shown_checkpoints)]


def _thinned(distribution: pd.DataFrame) -> pd.DataFrame:
    """At most so many points of each curve, its ends among them."""
    curves = distribution.groupby(["checkpoint", "attack"], observed=True)
    return pd.concat([curve.iloc[evenly(range(len(curve)), MOST_POINTS)] for _, curve in curves])
