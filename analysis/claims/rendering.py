"""The claims table as Markdown, CSV and HTML; names that come from data do no harm in any of them."""

import re
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from analysis.claims.claim import NOT_MEASURED, written
from analysis.claims.registry import UNTESTED
from analysis.claims.table import summary
from sweeps.store.terminal_text import terminal_text

RULES = (
    "Verdicts are computed. Each claim has a range of values that agree with it. A measurement agrees if its "
    "whole 95 % interval lies in the range, disagrees if none of it does, and is undecided otherwise. A claim is "
    "reproduced if all its measurements agree, partly if only some do, not reproduced if none agrees and one "
    "disagrees, and undecided if no measurement decides. A stand-in is another network or other images than the "
    "original's: numbers need not carry over. Measured values have their 95 % interval and number of cases."
)
STAND_IN = "stand-in"
_HEADERS = ("claim", "the original", "measured here", "verdict", "what differs")

_TEMPLATE = """\
<div class="claims">
<p>{{ summary }}</p>
<p>{{ rules }}</p>
{% for section, rows in sections %}
<h3>{{ section }}</h3>
<div class="scroll" tabindex="0" role="region" aria-label="Claims: {{ section }}">
<table>
<thead><tr>{% for header in headers %}<th scope="col">{{ header }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row">{{ row.statement }}</th><td>{{ row.says }}<br><small>agrees: {{ row.rule }}</small></td>\
<td>{% for line in row.measured %}{{ line }}<br>{% endfor %}\
{% if row.run %}<small>run <bdi>{{ row.run }}</bdi></small>{% endif %}</td>\
<td><strong class="verdict {{ row.verdict | replace(' ', '-') }}">{{ row.verdict }}</strong>\
{% if row.stand_in %}<br><small>{{ row.stand_in }}</small>{% endif %}</td>\
<td>{{ row.differs }}\
{% if row.needs %}Needs {{ row.needs }}:<br><code>{{ row.command }}</code>{% endif %}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% endfor %}
<h3>Stated, but not in the table</h3>
<ul>{% for section, statement, why in untested %}<li>{{ section }}: {{ statement }} <small>{{ why }}</small></li>
{% endfor %}</ul>
</div>
"""


def to_markdown(table: pd.DataFrame) -> str:
    """Return a document with a table for each section of the original."""
    parts = ["# Claims", summary(table), RULES]
    for section, rows in _sections(table):
        lines = [_HEADERS, ["---"] * len(_HEADERS), *(_markdown_cells(row) for row in rows)]
        parts += [f"## {_markdown(section)}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    untested = [
        f"- {_markdown(f'{section}: {statement}')} *{_markdown(why)}*" for section, statement, why in UNTESTED
    ]
    parts += ["## Stated, but not in the tables", "\n".join(untested)]
    return "\n\n".join(parts) + "\n"


def to_csv(table: pd.DataFrame) -> str:
    """Return the table as CSV; a text that a spreadsheet would run as a formula begins with an apostrophe."""
    texts = table.select_dtypes(include="str").columns
    safe = table.assign(**{name: [_spreadsheet(each) for each in table[name]] for name in texts})
    text: str = safe.to_csv(index=False)
    return text


def to_html(table: pd.DataFrame) -> Markup:
    """Return a `<div class="claims">` for a section of a page, its headings `<h3>`: no style, script or id."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = environment.from_string(_TEMPLATE).render(
        summary=summary(table),
        rules=RULES,
        headers=_HEADERS,
        sections=list(_sections(table)),
        untested=UNTESTED,
    )
    return Markup(text)  # escaped by the template


def _sections(table: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return each section's claims, with the measurements of a run together."""
    return [
        (str(section), [_texts(group) for _, group in rows.groupby(["claim", "run"], sort=False)])
        for section, rows in table.groupby("section", sort=False)
    ]


def _texts(group: pd.DataFrame) -> dict[str, Any]:
    """Return the texts of a claim in a run."""
    row = group.iloc[0]
    names = ("statement", "says", "rule", "run", "verdict", "differs", "needs", "command")
    elsewhere = row["verdict"] != NOT_MEASURED and not row["same_setting"]
    return {name: terminal_text(row[name]) for name in names} | {
        "measured": [terminal_text(_measured(each)) for each in group.to_dict("records")],
        "stand_in": STAND_IN if elsewhere else "",
    }


def _measured(row: dict[str, Any]) -> str:
    if pd.isna(row["value"]):
        return "\N{EN DASH}"
    value, low, high = (written(float(row[name]), row["form"]) for name in ("value", "low", "high"))
    exact = row["low"] == row["high"] == row["value"] and row["count"] == 1
    subject = f"{row['subject']}: " if row["subject"] else ""
    return subject + (value if exact else f"{value} ({low} to {high}, {int(row['count']):,})")


def _markdown_cells(row: dict[str, Any]) -> list[str]:
    says = f"{_markdown(row['says'])}<br>*agrees: {_markdown(row['rule'])}*"
    measured = [_markdown(line) for line in row["measured"]]
    measured += [f"*run {_markdown(row['run'])}*"] if row["run"] else []
    verdict = f"**{row['verdict']}**" + (f"<br>*{row['stand_in']}*" if row["stand_in"] else "")
    needs = f"Needs {_markdown(row['needs'])}:<br>`{row['command']}`" if row["needs"] else ""
    return [
        _markdown(row["statement"]),
        says,
        "<br>".join(measured),
        verdict,
        _markdown(row["differs"]) + needs,
    ]


def _markdown(text: str) -> str:
    """Return the text on one line, with all that Markdown and the HTML in it would interpret escaped."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", line)


def _spreadsheet(text: str) -> str:
    text = terminal_text(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
