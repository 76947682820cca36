"""The claims of the original document beside what the runs measured: a page, and a short section of the report."""

from collections.abc import Sequence

import pandas as pd

from analysis.claims import VERDICTS, to_csv, to_html, to_markdown
from analysis.claims.claim import NOT_MEASURED
from analysis.claims.table import table_of, verdicts
from analysis.html.site import Section, Site
from analysis.run import Run

PAGE, CSV, MARKDOWN = "claims.html", "claims.csv", "claims.md"

# How the report marks the verdicts that say most.
_MARKS = {"reproduced": "good", "partly": "warn", "not reproduced": "bad"}


def section(runs: Sequence[Run], site: Site) -> Section:
    """Return the section of all runs together; also write the page of all claims and its files."""
    table = table_of(runs)
    found = verdicts(table)
    measured = found[found["verdict"] != NOT_MEASURED]
    site.page(PAGE, "claims_page.html", claims=to_html(table), files=_files(site, table))
    html = site.render(
        "claims.html",
        page=PAGE,
        files=[("CSV", CSV), ("Markdown", MARKDOWN)],
        num_claims=found["claim"].nunique(),
        num_measured=measured["claim"].nunique(),
        num_same=int(measured["same_setting"].fillna(False).sum()),
        counts=[(verdict, int((measured["verdict"] == verdict).sum())) for verdict in VERDICTS],
        marks=_MARKS,
        rows=_rows(table[table["verdict"] != NOT_MEASURED]),
        several=len(runs) > 1,
    )
    return Section(id="claims", title="Claims", html=html)


def _files(site: Site, table: pd.DataFrame) -> list[tuple[str, str]]:
    return [
        ("CSV", site.put(CSV, to_csv(table).encode())),
        ("Markdown", site.put(MARKDOWN, to_markdown(table).encode())),
    ]


def _rows(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return a row for each claim that a run measured: what it states and says, and the verdict."""
    columns = ["claim", "statement", "says", "run", "verdict", "same_setting"]
    return verdicts(table)[columns].to_dict("records")
