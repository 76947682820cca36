"""The section of an attack sweep: success against ε, minimum ε, classes, confusion, images before and after."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.attacks.rows import class_names, recorded_class_names
from analysis.attacks.section_charts import minimum_charts, rate_charts
from analysis.attacks.section_files import write_files
from analysis.attacks.section_heatmaps import (
    MOST_CLASSES,
    class_heatmap,
    confusion_heatmap,
    frequent_confusions,
)
from analysis.attacks.section_pictures import choose_rows, write_triptychs
from analysis.attacks.section_tables import (
    RIGHT_AT_FIRST,
    AttackTables,
    View,
    confusions,
    count_tables,
    views,
)
from analysis.html.heatmaps import Heatmap
from analysis.html.pictures import Album, Triptych
from analysis.html.site import Section, Site
from analysis.run import Source


@dataclass(frozen=True, kw_only=True)
class Detail:
    """An attack on a checkpoint, class by class and image by image; what there is none of is None or empty."""

    view: View
    classes: Heatmap | None
    num_classes: int
    page: str
    confusion: Heatmap | None
    pairs: Sequence[dict[Any, Any]]
    triptychs: Sequence[Triptych]


def section(source: Source, site: Site) -> Section:
    """The section of an attack sweep; also writes its tables, figures and pictures."""
    title = f"Attacks: {source.name}"
    if source.status.num_rows == 0:
        return Section(id=source.id, title=title, html=site.render("no_rows.html", source=source))
    tables = count_tables(source)
    html = site.render(
        "attack.html",
        run=source,
        tables=tables,
        groups=list(_rate_groups(tables)),
        rate_charts=rate_charts(tables),
        minimum_charts=minimum_charts(tables),
        quartiles=_quartiles(tables),
        details=list(_details(source, site, tables)),
        num_views=sum(len(table.groupby(["checkpoint", "attack"], observed=True)) for table in _both(tables)),
        most_classes=MOST_CLASSES,
        files=write_files(source, site, tables),
    )
    return Section(id=source.id, title=title, html=html)


def _both(tables: AttackTables) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tables.curves, tables.quartiles


def _rate_groups(tables: AttackTables) -> Iterator[dict[str, Any]]:
    """For each checkpoint and attack that is shown, a row per ε with the rates under both denominators."""
    curves = tables.curves.astype({"checkpoint": str, "attack": str})
    for checkpoint in tables.shown_checkpoints:
        for attack in tables.attacks:
            rows = curves[(curves["checkpoint"] == checkpoint) & (curves["attack"] == attack)]
            if rows.empty:
                continue
            success, among_all, accurate = (
                rows[(rows["measure"] == measure) & (rows["denominator"] == denominator)].set_index("epsilon")
                for measure, denominator in (
                    ("success", RIGHT_AT_FIRST),
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
    """The rows of the table of minima, in the order of the charts."""
    rows = tables.quartiles.astype({"checkpoint": str, "attack": str})
    places = {name: place for place, name in enumerate([*tables.checkpoints, *tables.attacks])}
    rows = rows[rows["checkpoint"].isin(tables.shown_checkpoints)]
    return rows.sort_values(["checkpoint", "attack"], key=lambda names: names.map(places)).to_dict("records")


def _details(source: Source, site: Site, tables: AttackTables) -> Iterator[Detail]:
    shown = views(tables)
    names = class_names(tables.classes) | recorded_class_names(source.url)
    album = Album(site, f"{source.id}/pictures")
    rows_of = choose_rows(source, shown)
    for number, (view, rows, pairs) in enumerate(zip(shown, rows_of, confusions(source, shown), strict=True)):
        classes = tables.classes[
            (tables.classes["checkpoint"] == view.checkpoint) & (tables.classes["attack"] == view.attack)
        ]
        num_classes = classes["label"].nunique()
        page = ""
        if num_classes > MOST_CLASSES:
            page = site.page(
                f"{source.id}/classes-{number}.html",
                "attack_classes.html",
                run=source,
                view=view,
                heat=class_heatmap(classes),
            )
        yield Detail(
            view=view,
            classes=class_heatmap(classes, most=MOST_CLASSES) if num_classes else None,
            num_classes=num_classes,
            page=page,
            confusion=confusion_heatmap(pairs, names),
            pairs=frequent_confusions(pairs).to_dict("records"),
            triptychs=write_triptychs(source, album, rows, names),
        )
