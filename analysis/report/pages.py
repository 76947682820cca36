"""The index page: the sections of all runs, strung together."""

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from analysis.html.formatting import kind
from analysis.html.site import Section, Site
from analysis.report import claims, provenance
from analysis.run import Source

# Which module makes the section of a sweep.
SECTIONS = {
    "generate": "generation",
    "tune_recipe": "tuning",
    "attack": "attack",
    "attribute": "attribution",
    "attribute_training": "training",
    "modify": "modification",
}


def write_report(sources: Sequence[Source], site: Site, *, title: str) -> None:
    """Writes the report of these runs."""
    with site.writing():
        sections = [section_of(source)(source, site) for source in sources]
        sections.append(claims.section(sources, site))
        origins = [provenance.section(source, site) for source in sources]
        site.finish("index.html", title=title, sources=sources, sections=sections, origins=origins)


def section_of(source: Source) -> Callable[[Source, Site], Section]:
    """The function that makes the section of a run's sweep; one that says so where no module knows the sweep."""
    module = f"analysis.report.{SECTIONS.get(source.kind, '')}"
    if source.kind not in SECTIONS or find_spec(module) is None:
        return _unknown_section
    section: Callable[[Source, Site], Section] = importlib.import_module(module).section
    return section


def _unknown_section(source: Source, site: Site) -> Section:
    html = site.render("unknown.html", source=source)
    return Section(id=source.id, title=f"{kind(source.kind).capitalize()}: {source.name}", html=html)
