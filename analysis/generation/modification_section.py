"""The section of a sweep that modifies real images: how many became the target, how large a change it took."""

from typing import Any

import pandas as pd

from analysis import load
from analysis.attacks.rows import describe
from analysis.generation.modification_pictures import choose_rows, write_triptychs
from analysis.generation.modification_tables import pair_heatmaps, target_table
from analysis.generation.modifications import modification_figure, modification_table, own_and_other
from analysis.html.site import Section, Site
from analysis.run import Source

_COLUMNS = (
    "sweep",
    "model",
    "dataset",
    "split",
    "key",
    "image_index",
    "label",
    "label_name",
    "target",
    "target_name",
    "num_steps",
    "initial_prediction",
    "initial_confidence",
    "prediction",
    "confidence",
    "first_hit_step",
    "hit_l2",
    "l2",
    "linf",
    "image_file",
    "image_key",
    "clean_file",
    "clean_key",
)


def section(source: Source, site: Site) -> Section:
    """The section of a modification sweep; also writes its tables, its figure and its pictures."""
    title = f"Modified images: {source.name}"
    if source.status.num_rows == 0:
        return Section(id=source.id, title=title, html=site.render("no_rows.html", source=source))
    frame = load.results(source.url, _COLUMNS)
    table, targets = modification_table(frame), target_table(frame)
    figure = modification_figure(table, title=f"{describe(frame)}: modified")
    html = site.render(
        "modification.html",
        source=source,
        subject=describe(frame),
        num_targets=frame["target"].nunique(),
        steps=sorted(map(int, frame["num_steps"].unique())),
        rows=targets.to_dict("records"),
        sides=_sides(frame),
        heatmaps=pair_heatmaps(table),
        triptychs=write_triptychs(source, site, frame, choose_rows(frame)),
        files=[
            ("targets as CSV", site.table(f"{source.id}/modification-targets.csv", targets)),
            ("labels and targets as CSV", site.table(f"{source.id}/modifications.csv", table)),
        ],
        figure=site.figure(f"{source.id}/modifications.png", figure),
    )
    return Section(id=source.id, title=title, html=html)


def _sides(frame: pd.DataFrame) -> dict[str, dict[Any, Any]] | None:
    """The norm at the first hit towards an image's own label and towards others; None where no image has both."""
    table = own_and_other(frame)
    table = table[table["measure"] == "hit_l2"].set_index("towards")
    if table["count"].min() < 2:
        return None
    return {name: row.to_dict() for name, row in table.iterrows()}
