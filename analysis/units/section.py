"""The sections of units in a report: synthetic pictures by layer, natural images beside them or alone."""

from collections.abc import Sequence
from typing import Any

from analysis.html.site import Section, Site
from analysis.run import Run
from analysis.units.natural import LOGITS, NATURAL
from analysis.units.pages import ShelfPage, span, write_pages
from analysis.units.shelves import Collection, open_collection
from analysis.units.summary import layer_table, unit_table

# Units of a layer that the index page shows.
NUM_CARDS = 12


def section(run: Run, site: Site) -> Section:
    """Make the section of a run of units, or of natural images; write its pages, its pictures and its tables."""
    title = f"{'Natural images' if run.kind == NATURAL else 'Units'}: {run.name}"
    if run.status.num_rows == 0:
        return Section(id=run.id, title=title, html=site.render("no_rows.html", run=run))
    collection = open_collection(run, run.natural)
    units = unit_table(collection.synthetic, collection.natural)
    pages, layers = write_pages(collection, site), layer_table(units)
    html = site.render(
        "units.html",
        run=run,
        lead=lead(collection),
        natural=None if run.kind == NATURAL else collection.natural_run,
        layers=layers.to_dict("records"),
        columns=set(layers.columns),
        groups=page_groups(pages),
        files=[
            ("by unit as CSV", site.table(f"{run.id}/units.csv", units)),
            ("by layer as CSV", site.table(f"{run.id}/units-by-layer.csv", layers)),
        ],
    )
    return Section(id=run.id, title=title, html=html)


def page_groups(pages: Sequence[ShelfPage]) -> list[dict[str, Any]]:
    """Return the pages of each layer and recipe, with the units of the first that the index page shows."""
    groups: dict[tuple[str, str], list[ShelfPage]] = {}
    for page in pages:
        groups.setdefault((page.shelf.layer, page.shelf.recipe), []).append(page)
    return [
        {
            "name": ", ".join(filter(None, group)),
            "cards": of_group[0].units[:NUM_CARDS],
            "first": of_group[0].path,
            "pages": [(span(page.shelf), page.path) for page in of_group],
        }
        for group, of_group in groups.items()
    ]


def lead(collection: Collection) -> str:
    """Return in a sentence what there is."""
    rows = collection.rows
    num_units = rows.groupby(["layer", "unit"]).ngroups
    if collection.synthetic is not None:
        num_layers = rows["layer"].nunique()
        return (
            f"{len(rows):,} pictures, each made to activate one of {num_units:,} units of {num_layers:,} "
            f"layer{'' if num_layers == 1 else 's'} of {collection.model}."
        )
    named = "classes" if (rows["layer"] == LOGITS).all() else "units"
    images = f"{rows['dataset'].iloc[0]}/{rows['split'].iloc[0]}"
    return f"The images of {images} that activate each of {num_units:,} {named} of {collection.model} most."
