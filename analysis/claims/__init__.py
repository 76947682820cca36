"""The claims table: what the original document states, beside what was measured here.

table = claims_table(["runs/reproduce/attack", "runs/reproduce/generate"])
print(to_markdown(table))
"""

from analysis.claims.claim import VERDICTS, Claim, Claimed, Measurement, Setting
from analysis.claims.registry import CLAIMS, UNTESTED
from analysis.claims.rendering import to_csv, to_html, to_markdown
from analysis.claims.table import claims_table, summary

__all__ = [
    "CLAIMS",
    "UNTESTED",
    "VERDICTS",
    "Claim",
    "Claimed",
    "Measurement",
    "Setting",
    "claims_table",
    "summary",
    "to_csv",
    "to_html",
    "to_markdown",
]
