"""The sections of units in a report: synthetic pictures by layer, natural images beside them or alone."""

from analysis.html.site import Section, Site
from analysis.run import Run
from analysis.units.natural import LOGITS, NATURAL
from analysis.units.pages import page_name, write_pages
from analysis.units.shelves import Collection, open_collection
from analysis.units.summary import layer_table, unit_table

# Units of a page that the index page shows.
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
        pages=[(page_name(page.shelf), page.path, page.units[:NUM_CARDS], len(page.units)) for page in pages],
        files=[
            ("by unit as CSV", site.table(f"{run.id}/units.csv", units)),
            ("by layer as CSV", site.table(f"{run.id}/units-by-layer.csv", layers)),
        ],
    )
    return Section(id=run.id, title=title, html=html)


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
