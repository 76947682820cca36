"""The index page: the sections of all runs, strung together."""

from collections.abc import Callable, Sequence

from analysis.html.site import Section, Site
from analysis.report import claims, provenance
from analysis.run import Run
from analysis.sweep_kinds import SWEEP_KINDS, kind_title, named_function


def write_report(runs: Sequence[Run], site: Site, *, title: str) -> None:
    """Write the report of these runs."""
    with site.writing():
        sections = [section_of(run)(run, site) for run in runs]
        sections += _together(runs, site)
        sections.append(claims.section(runs, site))
        origins = [provenance.section(run, site) for run in runs]
        site.finish("index.html", title=title, runs=runs, sections=sections, origins=origins)


def section_of(run: Run) -> Callable[[Run, Site], Section]:
    """Return the function that makes the section of a run's sweep; for an unknown kind one that says so."""
    if run.kind not in SWEEP_KINDS:
        return _unknown_section
    return named_function(SWEEP_KINDS[run.kind].section)


def _together(runs: Sequence[Run], site: Site) -> list[Section]:
    """Return the sections of a kind that take its runs together."""
    found = []
    for name, kind in SWEEP_KINDS.items():
        of_kind = [run for run in runs if run.kind == name]
        if kind.together and of_kind:
            found += named_function(kind.together)(of_kind, site)
    return found


def _unknown_section(run: Run, site: Site) -> Section:
    html = site.render("unknown.html", run=run)
    return Section(id=run.id, title=f"{kind_title(run.kind).capitalize()}: {run.name}", html=html)
