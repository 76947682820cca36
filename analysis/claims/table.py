"""The claims table of some runs."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.claim import NOT_MEASURED, VERDICTS, Claim, Measurement, verdict
from analysis.claims.differences import differences, in_setting
from analysis.claims.evidence import Evidence
from analysis.claims.registry import CLAIMS
from analysis.run import Run, open_runs
from analysis.sweep_kinds import SWEEP_KINDS

COLUMNS = {
    "claim": "str",
    "section": "str",
    "statement": "str",
    "says": "str",
    "original": "float64",
    "form": "str",
    "run": "str",
    "subject": "str",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "count": "Int64",
    "finding": "str",
    "verdict": "str",
    "rule": "str",
    "same_setting": "boolean",
    "differs": "str",
    "needs": "str",
    "command": "str",
}


def claims_table(runs: Sequence[str | Path], claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Return a row for each measurement of a claim, in the original's order, and one for each claim without any.

    `value`, `low` and `high` (95 %) over `count` cases were measured, of `subject`, in `run`; `original` is the
    number that the original states, `says` what it says. The `finding` of each follows from the `rule` alone,
    the `verdict` of a claim in a run from its findings there: see `analysis.claims.claim`. `same_setting`: whether
    network and data are the original's; `differs` says what is not. `needs` and `command` say how to measure what
    was not. Raises ValueError for what is no run directory, a run given twice and a sweep of unknown kind.
    """
    return table_of([_refuse_unknown(run) for run in open_runs(runs)], claims)


def table_of(runs: Sequence[Run], claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Return the table of runs that are open; runs of kinds that no claim is about add nothing."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    reasons: dict[str, list[str]] = defaultdict(list)
    # One run after the other: the rows of a large one fill memory.
    for run in runs:
        evidence = Evidence(run)
        for claim in claims:
            if claim.applies(evidence):
                measured, reason = _measured(claim, evidence)
                found[claim.id] += _rows(claim, evidence, measured)
                reasons[claim.id] += [f"{run.name}: {reason}"] if reason else []
    rows = [row for claim in claims for row in found[claim.id] or [_missing(claim, reasons[claim.id])]]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each claim and run that measured it, and for each claim without."""
    return table.drop_duplicates(["claim", "run"])


def summary(table: pd.DataFrame) -> str:
    """Return in two sentences how many claims came to which verdict; one that two runs measured counts twice."""
    found = verdicts(table)
    counts = Counter(found["verdict"])
    measured = found[found["verdict"] != NOT_MEASURED]
    parts = ", ".join(f"{counts[each]} {each}" for each in VERDICTS if counts[each])
    same = int(measured["same_setting"].fillna(False).sum())
    return (
        f"{found['claim'].nunique()} claims: {parts}. "
        f"{same} of the {len(measured)} verdicts are of the original's own network and data."
    )


def _measured(claim: Claim, evidence: Evidence) -> tuple[list[Measurement], str]:
    """Return the measurements, or why a run that is damaged or incomplete has none."""
    try:
        return claim.measure(evidence), ""
    except ValueError as error:
        return [], str(error)


def _rows(claim: Claim, evidence: Evidence, measured: Sequence[Measurement]) -> list[dict[str, Any]]:
    findings = [claim.claimed.finding(each) for each in measured]
    shared = _stated(claim) | {
        "run": evidence.run.name,
        "verdict": verdict(findings),
        "same_setting": in_setting(claim, evidence),
        "differs": differences(claim, evidence),
        "needs": "",
        "command": claim.command,
    }
    return [
        shared | asdict(each) | {"finding": found} for each, found in zip(measured, findings, strict=True)
    ]


def _missing(claim: Claim, reasons: Sequence[str]) -> dict[str, Any]:
    because = f" ({'; '.join(reasons)})" if reasons else ""
    absent = dict.fromkeys(("run", "subject", "finding", "differs"), "")
    return (
        _stated(claim)
        | absent
        | {
            "verdict": NOT_MEASURED,
            "needs": f"{claim.needs}{because}",
            "command": claim.command,
        }
    )


def _stated(claim: Claim) -> dict[str, Any]:
    return {
        "claim": claim.id,
        "section": claim.section,
        "statement": claim.statement,
        "says": claim.says,
        "original": claim.original,
        "form": claim.form,
        "rule": claim.claimed.describe(claim.form),
    }


def _refuse_unknown(run: Run) -> Run:
    if run.kind not in SWEEP_KINDS:
        raise ValueError(f"{run.url} holds a sweep of kind {run.kind!r}: accepted: {', '.join(SWEEP_KINDS)}")
    return run
