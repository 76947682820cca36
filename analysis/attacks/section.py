"""The section of an attack sweep: success against ε, minimum ε, classes, confusion, images before and after."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.attacks import class_success, confusion, curves, minimum_epsilon, triptychs
from analysis.attacks.details import DetailRows, read_details
from analysis.attacks.downloads import write_files
from analysis.attacks.points import AttackPoint, telling_points
from analysis.attacks.rows import failed_images
from analysis.attacks.tables import AttackTables
from analysis.html.heatmaps import Heatmap
from analysis.html.pictures import Album, Triptych
from analysis.html.site import Section, Site
from analysis.naming import class_names, recorded_class_names
from analysis.run import Run

# Of more classes, a section shows those that give way least and most; a page of its own shows all.
MOST_CLASSES = 40


@dataclass(frozen=True, kw_only=True)
class Detail:
    """An attack on a checkpoint, class by class and image by image; a part without rows is None or empty."""

    point: AttackPoint
    classes: Heatmap | None
    num_classes: int
    page: str
    confusion: Heatmap | None
    pairs: Sequence[dict[Any, Any]]
    triptychs: Sequence[Triptych]


def section(run: Run, site: Site) -> Section:
    """Return the section of an attack sweep; also write its tables, figures and pictures."""
    title = f"Attacks: {run.name}"
    if run.status.num_rows == 0:
        return Section(id=run.id, title=title, html=site.render("no_rows.html", run=run))
    # Two passes over the rows: the second one needs to know at which ε each attack is shown.
    tables = AttackTables(run)
    details = read_details(run, telling_points(tables))
    names = class_names(tables.classes) | recorded_class_names(run)
    html = site.render(
        "attack.html",
        run=run,
        tables=tables,
        failed_images=failed_images(run),
        groups=list(_rate_groups(tables)),
        rate_charts=curves.html(tables.curves, tables.shown_checkpoints),
        minimum_charts=minimum_epsilon.html(tables.distribution, tables.shown_checkpoints),
        quartiles=_quartiles(tables),
        details=list(_details(run, site, tables.classes, details, names)),
        num_points=_num_points(tables),
        most_classes=MOST_CLASSES,
        files=write_files(tables, site, run.id),
    )
    return Section(id=run.id, title=title, html=html)


def _num_points(tables: AttackTables) -> int:
    by = ["checkpoint", "attack"]
    return sum(len(table.groupby(by, observed=True)) for table in (tables.curves, tables.quartiles))


def _rate_groups(tables: AttackTables) -> Iterator[dict[str, Any]]:
    """Yield for each checkpoint and attack that is shown a row per ε with the rates under both denominators."""
    shown = tables.shown(tables.curves)
    for (checkpoint, attack), rows in shown.groupby(["checkpoint", "attack"], observed=True):
        success, among_all, accurate = (
            rows[(rows["measure"] == measure) & (rows["denominator"] == denominator)].set_index("epsilon")
            for measure, denominator in (
                ("success", "initially_correct"),
                ("success", "all"),
                ("accuracy", "all"),
            )
        )
        table = success.assign(all_rate=among_all["rate"], all_count=among_all["count"])
        table = table.assign(accuracy=accurate["rate"]).sort_index().reset_index()
        yield {
            "checkpoint": checkpoint,
            "attack": attack,
            "rows": table.to_dict("records"),
            "zero_gradients": float(among_all["zero_gradient_share"].max()),
        }


def _quartiles(tables: AttackTables) -> list[dict[Any, Any]]:
    """Return the rows of the table of minima, in the order of the charts."""
    return tables.shown(tables.quartiles).sort_values(["checkpoint", "attack"]).to_dict("records")


def _details(
    run: Run, site: Site, classes: pd.DataFrame, details: Sequence[DetailRows], names: Mapping[int, str]
) -> Iterator[Detail]:
    album = Album(site, f"{run.id}/pictures")
    for number, detail in enumerate(details):
        point = detail.point
        rows = classes[(classes["checkpoint"] == point.checkpoint) & (classes["attack"] == point.attack)]
        num_classes = rows["label"].nunique()
        page = ""
        if num_classes > MOST_CLASSES:
            page = site.page(
                f"{run.id}/classes-{number}.html",
                "attack_classes.html",
                run=run,
                point=point,
                heat=class_success.html(rows),
            )
        yield Detail(
            point=point,
            classes=class_success.html(rows, most=MOST_CLASSES) if num_classes else None,
            num_classes=num_classes,
            page=page,
            confusion=confusion.html(detail.confusion, names),
            pairs=confusion.frequent_confusions(detail.confusion).to_dict("records"),
            triptychs=triptychs.html(triptychs.read_table(run, detail.examples, names), album, names),
        )
