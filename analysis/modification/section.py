"""The section of a sweep that modifies real images: how many became the target, how large a change it took."""

from analysis.html.site import Section, Site
from analysis.modification import pairs, targets, triptychs
from analysis.modification.rows import load_rows
from analysis.naming import describe
from analysis.run import Run


def section(run: Run, site: Site) -> Section:
    """Make the section of a modification sweep; write its tables, its figure and its pictures."""
    title = f"Modified images: {run.name}"
    if run.status.num_rows == 0:
        return Section(id=run.id, title=title, html=site.render("no_rows.html", run=run))
    frame = load_rows(run)
    table = pairs.modification_table(frame)
    csv = site.table(f"{run.id}/modifications.csv", table)
    html = site.render(
        "modification.html",
        run=run,
        subject=describe(frame),
        num_targets=frame["target"].nunique(),
        steps=sorted(map(int, frame["num_steps"].unique())),
        targets=targets.html(run, site, frame, [("labels and targets as CSV", csv)]),
        triptychs=triptychs.html(run, site, triptychs.triptychs(run, frame)),
        pairs=pairs.html(run, site, table, title=f"{describe(frame)}: modified"),
    )
    return Section(id=run.id, title=title, html=html)
